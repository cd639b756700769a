//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/testreport"
	"github.com/seed-642172e2/aufs/internal/vmtest/console"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// A result is everything that came out of a run.
type result struct {
	bootErr error // why QEMU did not end normally

	report    *testreport.Report
	reportErr error

	console    []byte
	findings   []console.Finding
	consoleErr error

	kernel   *wire.Kernel // nil: the guest did not get that far
	tests    []wire.Tests // of the suites that have ended
	examples []wire.Example
	fatal    string

	bench        *wire.Exit // nil: the benchmarks have not ended
	benchResults strings.Builder
	profiles     []wire.Profile

	command *wire.Exit // nil: the command in the system has not ended

	done        bool
	messagesErr error
}

// message stores one message of the guest.
func (r *result) message(m wire.Message) {
	switch {
	case m.Kernel != nil:
		r.kernel = m.Kernel
	case m.Tests != nil:
		r.tests = append(r.tests, *m.Tests)
	case m.Example != nil:
		r.examples = append(r.examples, *m.Example)
	case m.Results != "":
		r.benchResults.WriteString(m.Results)
	case m.Profile != nil:
		r.profiles = append(r.profiles, *m.Profile)
	case m.News != "":
		fmt.Print("vmtest: " + m.News)
	case m.Bench != nil:
		r.bench = m.Bench
	case m.Printed != "":
		fmt.Print(m.Printed)
	case m.Command != nil:
		r.command = m.Command
	case m.Fatal != "":
		r.fatal = m.Fatal
	case m.Done:
		r.done = true
	}
}

// problems returns why the run failed; a successful run has none.
func (r *result) problems(opts options) []string {
	var problems []string
	add := func(format string, args ...any) {
		problems = append(problems, fmt.Sprintf(format, args...))
	}
	if r.bootErr != nil {
		add("%v", r.bootErr)
	}
	switch {
	case r.fatal != "":
		add("guest: %s", r.fatal)
	case r.kernel == nil:
		add("the guest did not boot")
	case len(r.tests) < len(opts.suites()):
		add("the guest ended before its tests did")
	case !r.done:
		add("the guest ended before it was done")
	}
	r.benchProblems(opts, add)
	r.commandProblems(opts, add)
	if r.ranTests() {
		r.testProblems(opts, add)
	}
	for _, example := range r.examples {
		if example.Error != "" {
			add("%s on %s: %s", example.Name, example.Backend, example.Error)
		}
	}
	if n := len(r.findings); n > 0 {
		add("the kernel complained, see above: %d times", n)
	}
	for _, err := range []error{r.consoleErr, r.messagesErr} {
		if err != nil {
			add("%v", err)
		}
	}
	return problems
}

// ranTests reports whether there are results of any tests. Of tests that never
// began, the report says only that the package failed.
func (r *result) ranTests() bool {
	return len(r.tests) > 0 || slices.ContainsFunc(r.report.Results,
		func(res testreport.Result) bool { return res.Test != "" })
}

// ranSuite reports whether a test of the suite passed or failed. If only one
// backend is tested, skipped tests count too, because all tests of a package may
// need the other backend.
func (r *result) ranSuite(s suite, opts options) bool {
	return slices.ContainsFunc(r.reportOf(s).Results, func(res testreport.Result) bool {
		return res.Test != "" && (res.Outcome != testreport.Skipped || len(opts.backends) == 1)
	})
}

// reportOf returns the part of the report about some suites.
func (r *result) reportOf(suites ...suite) *testreport.Report {
	report := &testreport.Report{}
	for _, res := range r.report.Results {
		if slices.ContainsFunc(suites, func(s suite) bool { return s.pkg == res.Package }) {
			report.Results = append(report.Results, res)
		}
	}
	return report
}

// exitError returns how the suite's test binary failed; "" if it did not, or has not ended.
func (r *result) exitError(s suite) string {
	for _, tests := range r.tests {
		if tests.Suite == s.Name {
			return tests.Error
		}
	}
	return ""
}

// Reasons of tests that are skipped on a tmpfs: before Linux 6.3 mounts cannot shift owners there, and before 6.6 it has no attributes of users.
// Without the system calls that make such mounts, no file system shifts owners.
const (
	noShifting       = "this kernel, or the file system of the test, does not shift owners"
	noUserAttributes = "the tests' file system has no attributes of users"
)

// since has the version of Linux that brought what tests need, by the reasons of those that are skipped without.
var since = map[string][2]int{
	"this kernel's filters let no call go on that a test has held": {5, 5},
	"this kernel's overlayfs has no volatile mounts":               {5, 10},
	"this kernel's overlayfs has no attributes of users":           {5, 11},
	"this kernel does not number disks":                            {5, 15},
	noShifting:                                                     {5, 19},
}

// callsToShift make a mount that shifts owners.
var callsToShift = []string{"open_tree", "mount_setattr", "move_mount"}

// skipped counts the tests on the backend that were skipped, but for those that the file system, the kernel, or a machine without some calls
// cannot have.
func (r *result) skipped(opts options, backend string) (n int) {
	var reasons []string
	if opts.fs == "tmpfs" {
		reasons = []string{noShifting, noUserAttributes}
	}
	if slices.ContainsFunc(opts.deny, func(call string) bool { return slices.Contains(callsToShift, call) }) {
		reasons = append(reasons, noShifting)
	}
	for reason, version := range since {
		if r.kernel != nil && !fsutil.ReleaseFrom(r.kernel.Release, version[0], version[1]) {
			reasons = append(reasons, reason)
		}
	}
	for _, res := range r.report.With(testreport.Skipped) {
		if res.Backend == backend && !slices.Contains(reasons, res.Reason) {
			n++
		}
	}
	return n
}

// testProblems adds the problems of the tests that ran.
func (r *result) testProblems(opts options, add func(string, ...any)) {
	for _, problem := range r.report.Problems(nil, nil) {
		add("tests: %s", problem)
	}
	// With AUFS_TEST_BACKENDS the tests themselves check that a backend works
	// at all. A choice of tests may leave a backend out.
	for _, backend := range opts.backends {
		if n := r.skipped(opts, backend); n > 0 && !opts.maySkip(backend) {
			add("tests: %d of %s were skipped, and none has to be", n, backend)
		}
		if opts.run == "" && r.report.Backend(backend).Run() == 0 {
			add("tests: none was run on %s", backend)
		}
	}
	if opts.run != "" && r.report.Total().Run() == 0 {
		add("tests: none is of the name %s", opts.run)
	}
	for _, s := range opts.suites() {
		if opts.run == "" && !r.ranSuite(s, opts) {
			add("tests: none of %s was run", s.pkg)
		}
		if exit := r.exitError(s); exit != "" && r.reportOf(s).Total().Failed == 0 {
			add("tests of %s: %s", s.Name, exit)
		}
	}
	if r.reportErr != nil && r.bootErr == nil {
		add("tests: %v", r.reportErr)
	}
}
