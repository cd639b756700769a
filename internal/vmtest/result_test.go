//go:build linux

package main

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/testreport"
	"github.com/seed-642172e2/aufs/internal/vmtest/console"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// goodResult returns the result of a run in which everything went well.
func goodResult() *result {
	r := &result{
		report: &testreport.Report{Results: []testreport.Result{
			{Package: libraryNamed(libraryContainers).pkg, Test: "TestA/aufs", Backend: "aufs"},
			{Package: libraryNamed(libraryContainers).pkg, Test: "TestA/overlay", Backend: "overlay"},
			{Package: libraryNamed(libraryContainers).pkg + "/example", Test: "TestE", Backend: "none"},
		}},
	}
	messages := `{"Kernel":{"Release":"6.1.192","Aufs":true,"BranchLimit":"1023 (by trial)"}}
{"Tests":{"Suite":"driver","Elapsed":2000000000}}
{"Tests":{"Suite":"examples","Elapsed":1000000000}}
{"Example":{"Name":"example","Backend":"aufs","Output":"same\n","Elapsed":1000000000}}
{"Example":{"Name":"example","Backend":"overlay","Output":"same\n"}}
{"Done":true}
`
	if err := r.readMessages(strings.NewReader(messages), nil); err != nil {
		panic(err)
	}
	r.console = []byte("[    0.612345] aufs 6.1-20240701\r\n")
	return r
}

// TestOutputOfSuites sends parts of the output of two suites, and a part for an unknown suite.
func TestOutputOfSuites(t *testing.T) {
	a, b := suite{Suite: wire.Suite{Name: "a"}}, suite{Suite: wire.Suite{Name: "b"}}
	p, err := openPipes([]suite{a, b})
	if err != nil {
		t.Fatal(err)
	}
	defer p.closeAll()
	messages := `{"Output":{"Suite":"a","Text":"b25l"}}
{"Output":{"Suite":"b","Text":"/w=="}}
{"Output":{"Suite":"a","Text":"IHR3bw=="}}
{"Output":{"Suite":"c","Text":"eA=="}}
{"Done":true}
`
	r := &result{}
	if err := r.readMessages(strings.NewReader(messages), p.suites); err == nil || !strings.Contains(err.Error(), "tests c") {
		t.Errorf("output of an unknown suite: %v", err)
	}
	p.closeSuites()
	for name, want := range map[string]string{"a": "one two", "b": "\xff"} {
		if got, err := io.ReadAll(p.suites[name].r); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", name, got, err)
		}
	}
	if !r.done {
		t.Error("the message after it was lost")
	}
}

var bothBackends = options{fs: "xfs", backends: []string{"aufs", "overlay"}, libraries: []string{libraryContainers}}

func TestProblems(t *testing.T) {
	tests := []struct {
		name   string
		change func(*result)
		opts   options
		want   []string
	}{
		{"good", func(*result) {}, bothBackends, nil},
		{
			"no end of benchmarks",
			func(*result) {},
			options{fs: "xfs", backends: bothBackends.backends, libraries: bothBackends.libraries, bench: "file"},
			[]string{"the guest ended before its benchmarks did"},
		},
		{
			"benchmarks failed",
			func(r *result) { r.message(wire.Message{Bench: &wire.Exit{Error: "GetPut: exit status 1"}}) },
			options{fs: "xfs", backends: bothBackends.backends, libraries: bothBackends.libraries, bench: "file"},
			[]string{"benchmarks: GetPut: exit status 1"},
		},
		{
			"no end of a command",
			func(*result) {},
			options{fs: "xfs", backends: bothBackends.backends, libraries: bothBackends.libraries, system: "dir"},
			[]string{"the guest ended before its command did"},
		},
		{
			"a command failed",
			func(r *result) { r.message(wire.Message{Command: &wire.Exit{Error: "exit status 1"}}) },
			options{fs: "xfs", backends: bothBackends.backends, libraries: bothBackends.libraries, system: "dir"},
			[]string{"the command: exit status 1"},
		},
		{
			"no boot",
			func(r *result) {
				*r = result{report: &testreport.Report{Results: []testreport.Result{
					{Package: "p", Backend: "none", Outcome: testreport.Failed},
				}}, reportErr: testreport.ErrNoEvents, bootErr: errors.New("not done after 1m")}
			},
			bothBackends,
			[]string{"not done after 1m", "the guest did not boot"},
		},
		{
			"skipped",
			func(r *result) {
				r.report.Results = append(r.report.Results,
					testreport.Result{Package: libraryNamed(libraryContainers).pkg, Test: "TestB/aufs", Backend: "aufs", Outcome: testreport.Skipped},
					testreport.Result{Package: libraryNamed(libraryContainers).pkg, Test: "TestB", Backend: "none", Outcome: testreport.Skipped})
			},
			bothBackends,
			[]string{"tests: 1 of aufs were skipped, and none has to be"},
		},
		{
			"skipped on a tmpfs",
			func(r *result) {
				r.report.Results = append(r.report.Results,
					testreport.Result{Package: libraryNamed(libraryContainers).pkg, Test: "TestB/aufs", Backend: "aufs", Outcome: testreport.Skipped, Reason: noShifting},
					testreport.Result{Package: libraryNamed(libraryContainers).pkg, Test: "TestC/aufs", Backend: "aufs", Outcome: testreport.Skipped, Reason: noUserAttributes},
					testreport.Result{Package: libraryNamed(libraryContainers).pkg, Test: "TestD/aufs", Backend: "aufs", Outcome: testreport.Skipped, Reason: "for fun"})
			},
			options{fs: "tmpfs", backends: bothBackends.backends, libraries: bothBackends.libraries},
			[]string{"tests: 1 of aufs were skipped, and none has to be"},
		},
		{
			"skipped without the calls to shift",
			func(r *result) {
				r.report.Results = append(r.report.Results,
					testreport.Result{Package: libraryNamed(libraryContainers).pkg, Test: "TestB/aufs", Backend: "aufs", Outcome: testreport.Skipped, Reason: noShifting},
					testreport.Result{Package: libraryNamed(libraryContainers).pkg, Test: "TestC/aufs", Backend: "aufs", Outcome: testreport.Skipped, Reason: noUserAttributes})
			},
			options{fs: "xfs", backends: bothBackends.backends, libraries: bothBackends.libraries, deny: []string{"statx", "move_mount"}},
			[]string{"tests: 1 of aufs were skipped, and none has to be"},
		},
		{
			"skipped on an older kernel",
			func(r *result) {
				r.kernel.Release = "5.15.80"
				r.report.Results = append(r.report.Results,
					testreport.Result{Package: libraryNamed(libraryContainers).pkg, Test: "TestB/overlay", Backend: "overlay", Outcome: testreport.Skipped, Reason: noShifting},
					testreport.Result{Package: libraryNamed(libraryContainers).pkg, Test: "TestC/overlay", Backend: "overlay", Outcome: testreport.Skipped, Reason: "this kernel's overlayfs has no volatile mounts"})
			},
			bothBackends,
			[]string{"tests: 1 of overlay were skipped, and none has to be"},
		},
		{
			"no aufs",
			func(r *result) { r.tests, r.done, r.fatal, r.report = nil, false, "no aufs", &testreport.Report{} },
			bothBackends,
			[]string{"guest: no aufs"},
		},
		{
			"died in the tests",
			func(r *result) {
				r.tests, r.done = nil, false
				r.report.Results[1].Outcome = testreport.Failed
			},
			bothBackends,
			[]string{"the guest ended before its tests did", "tests: 1 failed"},
		},
		{"died later", func(r *result) { r.done = false }, bothBackends, []string{"the guest ended before it was done"}},
		{
			"backend left out",
			func(r *result) { r.report.Results = slices.Delete(r.report.Results, 1, 2) },
			bothBackends,
			[]string{"tests: none was run on overlay"},
		},
		{
			"nothing chosen",
			func(r *result) { r.report.Results = nil },
			options{backends: bothBackends.backends, libraries: bothBackends.libraries, run: "TestX"},
			[]string{"tests: none is of the name TestX"},
		},
		{
			"suite without tests",
			func(*result) {},
			options{backends: bothBackends.backends, libraries: bothBackends.libraries, image: "dir"},
			[]string{"the guest ended before its tests did", "tests: none of github.com/seed-642172e2/aufs/internal/imagetest was run"},
		},
		{
			"suite for the other backend",
			func(r *result) {
				r.tests = append(r.tests, wire.Tests{Suite: "core-aufsfs"})
				r.report.Results = append(r.report.Results, testreport.Result{
					Package: "github.com/seed-642172e2/aufs/internal/core/aufsfs", Test: "TestX", Backend: "none", Outcome: testreport.Skipped,
				})
			},
			options{backends: []string{"overlay"}, libraries: bothBackends.libraries, core: []string{"internal/core/aufsfs"}},
			nil,
		},
		{
			"choice in one suite",
			func(r *result) { r.tests = append(r.tests, wire.Tests{Suite: "core-fsutil"}) },
			options{backends: bothBackends.backends, libraries: bothBackends.libraries, core: []string{"internal/core/fsutil"}, run: "TestA"},
			nil,
		},
		{
			"core without tests",
			func(r *result) { r.tests = append(r.tests, wire.Tests{Suite: "core-fsutil"}) },
			options{backends: bothBackends.backends, libraries: bothBackends.libraries, core: []string{"internal/core/fsutil"}},
			[]string{"tests: none of github.com/seed-642172e2/aufs/internal/core/fsutil was run"},
		},
		{
			"status only, and a failure in another suite",
			func(r *result) {
				r.report.Results[1].Outcome = testreport.Failed
				r.tests = append(r.tests, wire.Tests{Suite: "core-fsutil", Exit: wire.Exit{Error: "exit status 3"}})
			},
			options{backends: bothBackends.backends, libraries: bothBackends.libraries, core: []string{"internal/core/fsutil"}, run: "TestA"},
			[]string{"tests: 1 failed", "tests of core-fsutil: exit status 3"},
		},
		{
			"backend left out by choice",
			func(r *result) { r.report.Results = r.report.Results[:1] },
			options{backends: bothBackends.backends, libraries: bothBackends.libraries, run: "TestX"},
			nil,
		},
		{"status only", func(r *result) { r.tests[0].Error = "exit status 3" }, bothBackends, []string{"tests of driver: exit status 3"}},
		{"example", func(r *result) { r.examples[0].Error = "exit status 1" }, bothBackends, []string{"example on aufs: exit status 1"}},
		{
			"kernel",
			func(r *result) { r.findings = make([]console.Finding, 2) },
			bothBackends,
			[]string{"the kernel complained, see above: 2 times"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := goodResult()
			test.change(r)
			if got := r.problems(test.opts); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestReadMessagesGarbage(t *testing.T) {
	r := &result{}
	err := r.readMessages(strings.NewReader(`{"Done":true}`+"\n\x00\x01"), nil)
	if err == nil || !r.done {
		t.Errorf("got error %v, done %v", err, r.done)
	}
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	problems, err := goodResult().print(&b, bothBackends)
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	want := `
example on aufs:
    same

example on overlay:
    same

  backend  run  passed  failed  skipped
     aufs    1       1       0        0
  overlay    1       1       0        0
     none    1       1       0        0
3 passed, 0 failed, 0 skipped

kernel               6.1.192
aufs                 6.1-20240701
branch limit         1023 (by trial)
file system          xfs
tests of driver      ok (2s)
tests of examples    ok (1s)
tests of images      left out: no image
example on aufs      ok (1s)
example on overlay   ok (0s)
kernel's complaints  0
console              build/vmtest-console.log
OK
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestPrintTests(t *testing.T) {
	const module = "github.com/seed-642172e2/aufs"
	r := goodResult()
	r.report.Results = append(r.report.Results,
		testreport.Result{Package: module + "/internal/core/fsutil", Test: "TestB/overlay", Backend: "overlay", Outcome: testreport.Failed},
		testreport.Result{Package: module + "/podman", Test: "TestA/overlay", Backend: "overlay"})
	var b strings.Builder
	opts := options{backends: []string{"aufs", "overlay"}, libraries: libraryNames(), core: []string{"internal/core/fsutil"}}
	if err := r.printTests(&b, opts); err != nil {
		t.Fatal(err)
	}
	want := `
library containers:

FAILED:
  github.com/seed-642172e2/aufs/internal/core/fsutil TestB/overlay

  backend  run  passed  failed  skipped
     aufs    1       1       0        0
  overlay    2       1       1        0
     none    1       1       0        0
3 passed, 1 failed, 0 skipped

library podman:

  backend  run  passed  failed  skipped
     aufs    0       0       0        0
  overlay    1       1       0        0
     none    0       0       0        0
1 passed, 0 failed, 0 skipped
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestPrintFailure(t *testing.T) {
	r := goodResult()
	r.done = false
	r.console = []byte("\x1bcfirmware\r\nlast words\r\n")
	r.tests = []wire.Tests{
		{Suite: "driver", Exit: wire.Exit{Error: "signal: killed", Elapsed: time.Second}}, {Suite: "examples"},
	}
	for range mostFindings + 2 {
		r.findings = append(r.findings, console.Finding{Test: "TestA", Lines: []string{"BUG: x"}})
	}
	var b strings.Builder
	if _, err := r.print(&b, bothBackends); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"    cfirmware\n    last words\n",
		"kernel, during TestA:\n    BUG: x\n",
		"2 more findings are in",
		"FAILED: the guest ended before it was done\n",
		"tests of driver      FAILED: signal: killed (1s)\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestAbsent(t *testing.T) {
	report := &testreport.Report{Results: goodResult().report.Results[:1]} // only aufs
	tests := []struct {
		backends, want string
	}{
		{"aufs overlay", ""},
		{"aufs", "overlay"},
		{"overlay", ""},
	}
	for _, test := range tests {
		got := absent(report, options{backends: strings.Fields(test.backends)})
		if names := strings.Join(slices.Collect(maps.Keys(got)), " "); names != test.want {
			t.Errorf("%s: got %q, want %q", test.backends, names, test.want)
		}
	}
}
