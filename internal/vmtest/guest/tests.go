//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// orphanGrace is how long a program's output is awaited after its end, if
// something that it started holds it open.
const orphanGrace = 10 * time.Second

// runSuites runs the suites one after the other. Each may take all the time
// that those before it have left. When the time is up, the rest are not run,
// and have failed.
func runSuites(host messages, plan wire.Plan, run func(wire.Suite, time.Duration) (wire.Exit, error)) error {
	deadline := time.Now().Add(plan.TestTimeout)
	for _, suite := range plan.Suites {
		exit := wire.Exit{Error: "not run: the time for tests was up"}
		if left := time.Until(deadline); left > 0 {
			var err error
			if exit, err = run(suite, left); err != nil {
				return err
			}
		}
		tests := wire.Tests{Suite: suite.Name, Exit: exit}
		if err := host.send(wire.Message{Tests: &tests}); err != nil {
			return err
		}
	}
	return nil
}

// runSuite runs a test binary, for no longer than timeout. Its error is that it could not be run.
func runSuite(suite wire.Suite, plan wire.Plan, timeout time.Duration) (wire.Exit, error) {
	port, err := openPort(suite.Port())
	if err != nil {
		return wire.Exit{}, err
	}
	defer port.Close()
	cmd := exec.Command(suite.Binary(),
		"-test.v=test2json", "-test.run="+plan.Run, "-test.timeout="+max(timeout, time.Second).String())
	cmd.Dir = suite.WorkDir()
	cmd.Env = append(os.Environ(),
		"AUFS_TEST_BACKENDS="+strings.Join(plan.Backends, " "),
		"AUFS_TEST_INTREE="+wire.IntreePath,
		"AUFS_TEST_OURS="+wire.OursPath,
		"AUFS_TEST_IMAGE="+wire.ImagePath,
		"RAPID_SEED="+strconv.FormatUint(plan.Seed, 10),
		"RAPID_CHECKS="+strconv.Itoa(plan.Sequences), "AUFS_TEST_STEPS="+plan.Steps,
		"AUFS_TEST_STRESS="+plan.Stress.String())
	output := &marker{w: port, suite: suite.Name, mark: mark}
	cmd.Stdout, cmd.Stderr = output, output
	return runCommand(cmd)
}

// runCommand runs a program to its end. That the program fails is a result,
// that it can't be run or heard is an error.
func runCommand(cmd *exec.Cmd) (wire.Exit, error) {
	cmd.WaitDelay = orphanGrace
	start := time.Now()
	err := cmd.Run()
	exit := wire.Exit{Elapsed: time.Since(start)}
	var status *exec.ExitError
	switch {
	case errors.As(err, &status):
		exit.Error = status.Error()
	case errors.Is(err, exec.ErrWaitDelay):
		exit.Error = "a process that it started has outlived it"
	case err != nil:
		return exit, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	return exit, nil
}

// A marker passes the output of a test binary on, and marks in the kernel's
// log where each test begins, so that the kernel's complaints can be told by
// the test that caused them.
type marker struct {
	w     io.Writer
	suite string
	mark  func(text string)
	line  []byte // the beginning of a line whose end is still to come
}

// runLine is how -test.v=test2json says that a test begins.
const runLine = "\x16=== RUN   "

// Write takes output in pieces of any size.
func (m *marker) Write(p []byte) (int, error) {
	m.line = append(m.line, p...)
	for {
		line, rest, found := bytes.Cut(m.line, []byte("\n"))
		if !found {
			break
		}
		if name, ok := strings.CutPrefix(string(line), runLine); ok {
			m.mark(wire.MarkTest + name + " of " + m.suite)
		}
		m.line = rest
	}
	return m.w.Write(p)
}
