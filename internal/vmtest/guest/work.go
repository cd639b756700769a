//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/seed-642172e2/aufs/internal/faults"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

var errNoAufs = errors.New("the tests are to run on aufs, and this kernel has no aufs")

// work does the worker's job and returns its exit status.
func work() int {
	port, err := openPort(wire.MessagesPort)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		return 1
	}
	defer port.Close()
	host := messages{json.NewEncoder(port)}
	last := wire.Message{Done: true}
	if err := carryOut(host); err != nil {
		last = wire.Message{Fatal: err.Error()}
	}
	if err := host.send(last); err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		return 1
	}
	return 0
}

// carryOut carries out the plan. Failed tests and examples are results; an
// error means that carryOut could not carry out the plan.
func carryOut(host messages) error {
	plan, err := readPlan()
	if err != nil {
		return err
	}
	if err := mountTmp(plan); err != nil {
		return err
	}
	kernel, err := describeKernel()
	if err != nil {
		return err
	}
	if err := host.send(wire.Message{Kernel: &kernel}); err != nil {
		return err
	}
	if !kernel.Aufs && slices.Contains(plan.Backends, "aufs") {
		return errNoAufs
	}
	if plan.Bench != nil {
		return runBench(host, plan)
	}
	if plan.System != nil {
		return runInSystem(host, plan)
	}
	for _, call := range plan.Deny {
		if err := faults.Deny(faults.NewCalls[call], unix.ENOSYS); err != nil {
			return fmt.Errorf("denying %s: %w", call, err)
		}
	}
	err = runSuites(host, plan, func(suite wire.Suite, timeout time.Duration) (wire.Exit, error) {
		return runSuite(host, suite, plan, timeout)
	})
	if err != nil {
		return err
	}
	if plan.Run != "" {
		// The example is not among the tests that were chosen.
		return nil
	}
	for _, program := range plan.Examples {
		for _, backend := range plan.Backends {
			example := runExample(program, backend)
			if err := host.send(wire.Message{Example: &example}); err != nil {
				return err
			}
		}
	}
	return nil
}

func readPlan() (wire.Plan, error) {
	var plan wire.Plan
	content, err := os.ReadFile(wire.PlanPath)
	if err != nil {
		return plan, err
	}
	if err := json.Unmarshal(content, &plan); err != nil {
		return plan, fmt.Errorf("%s: %w", wire.PlanPath, err)
	}
	return plan, nil
}
