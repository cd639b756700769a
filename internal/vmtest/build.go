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

	"golang.org/x/sys/unix"
)

// Build tags, as in the Makefile. The first one keeps the storage library's
// own aufs driver out, which claims the same name; the second one keeps out
// its btrfs driver, which needs headers of C. The program that the tests
// compare with is the one that does have the library's aufs driver.
const (
	tagsOwn    = "exclude_graphdriver_aufs exclude_graphdriver_btrfs"
	tagsIntree = "exclude_graphdriver_btrfs"
)

// Names of the built programs in the temporary directory.
const (
	initProgram    = "init"
	testsProgram   = "aufs.test"
	exampleProgram = "example"
	intreeProgram  = "intree"
)

// buildPrograms builds all that runs in the guest, static and for amd64.
func buildPrograms(ctx context.Context, dir string) error {
	for _, program := range []struct {
		name, pkg string
		args      []string
	}{
		{initProgram, "./internal/vmtest/guest", []string{"build"}},
		{testsProgram, ".", []string{"test", "-c", "-tags", tagsOwn}},
		{exampleProgram, "./example", []string{"build", "-tags", tagsOwn}},
		{intreeProgram, "./internal/intree", []string{"build", "-tags", tagsIntree}},
	} {
		out := filepath.Join(dir, program.name)
		args := append(program.args, "-ldflags=-s -w", "-o", out, program.pkg)
		cmd := command(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		if err := runQuietly(cmd); err != nil {
			return err
		}
		if _, err := os.Stat(out); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("package %s has no tests", program.pkg) // says go test -c with success
		}
	}
	return nil
}

// command makes a command that is killed, together with all that it started,
// when the context ends.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = killGrace
	return cmd
}

// runQuietly runs a command, whose output is shown only if it fails.
func runQuietly(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
