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

// orphanGrace is how long to wait for the output of a program that has ended,
// if a process that it started still holds the output open.
const orphanGrace = 10 * time.Second

// runSuites runs the suites one after the other. Each may use all the time that
// the suites before it have left. When the time is up, the remaining suites do
// not run, and fail.
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

// runSuite runs a test binary, for no longer than timeout. It returns an error
// if it cannot run the binary.
func runSuite(host messages, suite wire.Suite, plan wire.Plan, timeout time.Duration) (wire.Exit, error) {
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
	send := sender(func(text string) error {
		return host.send(wire.Message{Output: &wire.Output{Suite: suite.Name, Text: []byte(text)}})
	})
	output := &announcer{w: send, suite: suite.Name, announce: announce}
	cmd.Stdout, cmd.Stderr = output, output
	return runCommand(cmd)
}

// runCommand runs a program to its end. If the program fails, that is in the
// result. An error means that the program could not be run or its output could
// not be read.
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

// An announcer passes on the output of a test binary, and says in the kernel's log
// where each test begins. The announcements show which test caused a complaint of the
// kernel.
type announcer struct {
	w        io.Writer
	suite    string
	announce func(text string)
	line     []byte // the beginning of a line whose end has not come yet
}

// runLine begins the line with which -test.v=test2json announces a test.
const runLine = "\x16=== RUN   "

// Write accepts output in pieces of any size.
func (m *announcer) Write(p []byte) (int, error) {
	m.line = append(m.line, p...)
	for {
		line, rest, found := bytes.Cut(m.line, []byte("\n"))
		if !found {
			break
		}
		if name, ok := strings.CutPrefix(string(line), runLine); ok {
			m.announce(wire.AnnounceTest + name + " of " + m.suite)
		}
		m.line = rest
	}
	return m.w.Write(p)
}
