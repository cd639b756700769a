//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/bats"
)

// ours is the name of this module's driver.
const ours = "aufs"

// module is the path of this module.
const module = "github.com/seed-642172e2/aufs"

// podmansLibrary begins the names of the newer library, for which the driver is a module of its own.
const podmansLibrary = "go.podman.io/"

// A suite is the tests of one version of the library.
type suite struct {
	library string // its module, with the version
	backend string
	dir     string
	tests   string
	noBuild bool
	noRun   bool
}

// program is the library's command.
func (s suite) program() string { return filepath.Join(s.dir, "containers-storage") }

// build makes the copy of the library, and builds the command in it.
func (s suite) build(ctx context.Context) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	out, err := command(ctx, "", "go", "mod", "download", "-json", s.library).Output()
	if err != nil {
		return fmt.Errorf("go mod download %s: %w: %s", s.library, err, out)
	}
	var download struct{ Dir string }
	if err := json.Unmarshal(out, &download); err != nil {
		return err
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	if err := os.CopyFS(s.dir, os.DirFS(download.Dir)); err != nil {
		return err
	}
	driver, tags := module, "exclude_graphdriver_aufs exclude_graphdriver_btrfs"
	edit := []string{"mod", "edit", "-require=" + module + "@v0.0.0", "-replace=" + module + "=" + root}
	if strings.HasPrefix(s.library, podmansLibrary) {
		driver = module + "/podman"
		edit = append(edit, "-require="+driver+"@v0.0.0", "-replace="+driver+"="+filepath.Join(root, "podman"))
	}
	source := fmt.Sprintf("package main\n\nimport _ %q\n", driver)
	if err := os.WriteFile(filepath.Join(s.dir, "cmd", "containers-storage", "aufs.go"), []byte(source), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{edit, {"build", "-mod=mod", "-tags", tags, "-o", "containers-storage", "./cmd/containers-storage"}} {
		if out, err := command(ctx, s.dir, "go", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return bats.Open(filepath.Join(s.dir, "tests"), ours)
}

// run runs the tests with a driver, in a mount namespace of their own. It writes to out what bats prints.
func (s suite) run(ctx context.Context, out io.Writer, driver string) (bats.Outcomes, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, "tests", s.tests))
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "storagetest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	cmd := command(ctx, s.dir, "unshare", append([]string{"--mount", "bats", "--tap"}, files...)...)
	if err := s.configure(cmd, tmp, driver); err != nil {
		return nil, err
	}
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp, "STORAGE_BINARY="+s.program())
	fmt.Fprintf(out, "With %s:\n", driver)
	return bats.Run(ctx, cmd, out)
}

// configure makes a command use a driver. It writes the files of settings into the directory dir.
func (s suite) configure(cmd *exec.Cmd, dir, driver string) error {
	conf := filepath.Join(dir, "storage.conf")
	for path, content := range map[string]string{
		conf:                            "[storage]\ndriver = \"" + driver + "\"\n",
		filepath.Join(dir, "aufs.conf"): "backend = " + s.backend + "\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	// The settings of whoever runs the tests are not for them.
	cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "STORAGE_") })
	cmd.Env = append(cmd.Env, "STORAGE_DRIVER="+driver, "CONTAINERS_STORAGE_CONF="+conf)
	if driver == ours {
		// Some tests name a storage.conf of their own, which has no aufs.conf beside it.
		cmd.Env = append(cmd.Env, "STORAGE_OPTS=backend="+s.backend)
	}
	return nil
}

// backendLine is the line of the driver's status that names the backend.
var backendLine = regexp.MustCompile(`(?m)^Backend: (\w+)$`)

// backendInUse returns the backend that the driver takes, which the option may leave to it.
func (s suite) backendInUse(ctx context.Context) (string, error) {
	tmp, err := os.MkdirTemp("", "storagetest-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	cmd := command(ctx, s.dir, "unshare", "--mount", s.program(), "--graph", filepath.Join(tmp, "root"), "--run", filepath.Join(tmp, "run"), "--storage-driver", ours, "status")
	if err := s.configure(cmd, tmp, ours); err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("containers-storage status: %w: %s", err, out)
	}
	found := backendLine.FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("containers-storage status does not name the backend: %s", out)
	}
	return string(found[1]), nil
}

// command returns a command in a directory, without the settings of this module.
func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	return cmd
}
