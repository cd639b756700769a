//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// Build tags, as in make/settings.mk. The first tag excludes the storage
// library's own aufs driver, which registers the same name. The second tag
// excludes its btrfs driver, which needs C headers. Only the programs intree
// and bench-intree have the library's aufs driver, for comparison.
const (
	tagsOwn    = "exclude_graphdriver_aufs exclude_graphdriver_btrfs"
	tagsIntree = "exclude_graphdriver_btrfs"
	// The podman module's library has no aufs driver.
	tagsPodman = "exclude_graphdriver_btrfs"
)

// programs returns all programs to build and put into the guest.
func (opts options) programs() []program {
	programs := []program{{path: "/init", dir: "internal/vmtest/guest", args: []string{"build", "-tags", tagsOwn}}}
	if opts.bench != "" {
		for i, path := range wire.BenchPrograms() {
			dir := []string{"internal/bench", "internal/bench", "podman/internal/bench"}[i]
			tags := []string{tagsOwn, tagsIntree, tagsPodman}[i]
			programs = append(programs, program{path: path, dir: dir, args: []string{"test", "-c", "-tags", tags}, cgo: opts.cgo})
		}
		return programs
	}
	if opts.system != "" {
		return programs
	}
	programs = append(programs, program{path: wire.IntreePath, dir: "internal/intree", args: []string{"build", "-tags", tagsIntree}})
	for _, l := range opts.all() {
		programs = append(programs, program{path: l.example().Path(), dir: l.made + "/example", args: []string{"build", "-tags", l.tags}})
	}
	if opts.hasPodman() {
		programs = append(programs, program{path: wire.OursPath, dir: "internal/intree", args: []string{"build", "-tags", "ours " + tagsOwn}})
	}
	for _, suite := range opts.suites() {
		programs = append(programs, program{path: suite.Binary(), dir: suite.dir, args: []string{"test", "-c", "-tags", suite.tags}})
	}
	return programs
}

// buildPrograms builds every program for the guest, static and for its processor.
func buildPrograms(ctx context.Context, dir string, opts options) error {
	for _, p := range opts.programs() {
		if err := p.build(ctx, dir, opts.arch); err != nil {
			return err
		}
	}
	return nil
}

// A program is the result of one call of the go command.
type program struct {
	path string // in the guest
	dir  string // of the package, relative to the root of this module
	args []string
	cgo  bool
}

// file returns the path of the built program, in the temporary directory.
func (p program) file(dir string) string { return filepath.Join(dir, filepath.Base(p.path)) }

// build writes the program, for the processor arch, to its file in the directory out.
func (p program) build(ctx context.Context, out, arch string) error {
	file := p.file(out)
	flags, env := "-s -w", guestEnv(arch)
	if p.cgo {
		flags, env = flags+" -linkmode external -extldflags -static", append(env, "CGO_ENABLED=1")
	}
	cmd := command(ctx, "go", append(p.args, "-ldflags="+flags, "-o", file, ".")...)
	cmd.Dir = p.dir
	cmd.Env = env
	if err := runQuietly(cmd); err != nil {
		return err
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the package in %s has no tests", p.dir) // "go test -c" succeeds without tests
	}
	return nil
}

// guestEnv returns the environment for go commands about programs of the guest, which has the processor arch.
func guestEnv(arch string) []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
}

// command returns a command that is killed, with everything that it started,
// when the context ends.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = killGrace
	return cmd
}

// runQuietly runs a command and shows its output only if it fails.
func runQuietly(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
