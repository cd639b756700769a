//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stepTime is how long a step may take. It is for an emulated machine.
const stepTime = 20 * time.Minute

// clients are the program, and how it is run.
type clients struct {
	podman  string // the program's path
	buildah string // the program's path; "" for none
	backend string
	dir     string
	verbose bool
	// tests is the directory with podman's own tests; "": run none. testFiles are the names of the files to run.
	tests     string
	testFiles *regexp.Regexp
	steps     []step
}

// A result is what a step did with one driver.
type result struct {
	step           string
	stdout, stderr string // clean
	failed         string // how; "" if it succeeded
}

type results []result

// prelude begins each script. "fails STATUS COMMAND" is for commands that must fail: bash does not end a script at a command after "!", whatever
// it returns. fill makes the tree of an image, of busybox.
const prelude = `set -euo pipefail; shopt -s inherit_errexit
	fails() { local want=$1 got=0; shift; "$@" || got=$?; [ $got = $want ] || { echo "status $got and not $want: $*" >&2; exit 1; }; }
	fill() {
		mkdir -p $1/{bin,etc,tmp,home,var}; chmod 1777 $1/tmp
		for name in $(/bin/busybox --list); do ln -sf busybox $1/bin/$name; done
		rm $1/bin/busybox; cp /bin/busybox $1/bin/
		printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >$1/etc/passwd
		printf 'root:x:0:\nnogroup:x:65534:\n' >$1/etc/group
	}
`

// live runs the steps with a driver, one after the other, also after one has failed.
func (c clients) live(ctx context.Context, out io.Writer, driver string) (results, error) {
	dir := filepath.Join(c.dir, driver)
	env, err := c.configure(dir, driver)
	if err != nil {
		return nil, err
	}
	if driver == ours {
		if err := c.checkBackend(ctx, out, env); err != nil {
			return nil, err
		}
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, err
	}
	var all results
	for _, s := range c.steps {
		begin := time.Now()
		r, err := s.run(ctx, work, env)
		if err != nil {
			return nil, err
		}
		verdict := "ok"
		if r.failed != "" {
			verdict = r.failed
		}
		fmt.Fprintf(out, "%-8s %-16s %s (%v)\n", driver, s.name, verdict, time.Since(begin).Round(time.Second))
		if c.verbose || r.failed != "" {
			fmt.Fprintf(out, "%s%s", r.stdout, r.stderr)
		}
		r.stdout, r.stderr = clean(r.stdout, dir, driver), clean(r.stderr, dir, driver)
		all = append(all, r)
	}
	return all, nil
}

// run runs the script of a step in the directory dir. It returns an error if it could not be run at all.
func (s step) run(ctx context.Context, dir string, env []string) (result, error) {
	limited, stop := context.WithTimeout(ctx, stepTime)
	defer stop()
	cmd := exec.CommandContext(limited, "bash", "-c", prelude+s.script)
	cmd.Dir, cmd.Env = dir, env
	// A podman that hangs keeps locks, so it must not outlive its step.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	// A container in the background keeps the files of its output open.
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := result{step: s.name, stdout: stdout.String(), stderr: stderr.String()}
	var status *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return r, context.Cause(ctx)
	case limited.Err() != nil:
		r.failed = "not done after " + stepTime.String()
	case errors.As(err, &status):
		r.failed = status.Error()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return r, fmt.Errorf("step %s: %w", s.name, err)
	}
	return r, nil
}

// checkBackend prints the backend of this module's driver. It returns an error if podman has another driver of the same name, or if the backend is
// not the one that was asked for.
func (c clients) checkBackend(ctx context.Context, out io.Writer, env []string) error {
	cmd := exec.CommandContext(ctx, c.podman, "info", "--format", `{{index .Store.GraphStatus "Backend"}}`)
	cmd.Env = env
	printed, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("podman info: %w", err)
	}
	backend := strings.TrimSpace(string(printed))
	fmt.Fprintf(out, "The backend is %q.\n", backend)
	if backend == "" || backend == "<no value>" {
		return errors.New("podman was built with another driver of the name aufs")
	}
	if c.backend != "auto" && backend != c.backend {
		return fmt.Errorf("the backend is not %s", c.backend)
	}
	return nil
}
