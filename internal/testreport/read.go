package testreport

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrNoEvents means that the input of Read had no test event at all: the
// program that should run the tests did not.
var ErrNoEvents = errors.New("no test events in the input")

// Options are the options of Read.
type Options struct {
	// Log receives the output of the tests in readable form. Nil: none.
	Log io.Writer
	// Verbose logs the output of all tests, not only of failed ones.
	Verbose bool
}

// Read reads the events of "go test -json" until the end of the input. With an
// error, it also returns the report on what it read before the error.
func Read(in io.Reader, opts Options) (*Report, error) {
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	c := newCollector(opts)
	// The output of a test has no maximum length, so lines have none. That
	// rules out bufio.Scanner.
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			c.line(line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return c.finish(), fmt.Errorf("read test events: %w", err)
		}
	}
	if c.events == 0 {
		return c.finish(), ErrNoEvents
	}
	return c.finish(), nil
}

// A collector follows the events of all packages, which may run at the same time.
type collector struct {
	opts   Options
	events int
	order  []*packageRun
	byPath map[string]*packageRun
}

// A packageRun is the state of one package's tests.
type packageRun struct {
	path   string
	ended  string // the action that ended it; "" while it runs
	build  string // the build whose failure ended it
	order  []*testRun
	byName map[string]*testRun
}

// A testRun is the state of one test.
type testRun struct {
	name   string
	ended  string
	parent bool // it has subtests
	output []string
}

func newCollector(opts Options) *collector {
	return &collector{opts: opts, byPath: map[string]*packageRun{}}
}

// line handles one line of the input.
func (c *collector) line(line []byte) {
	ev, ok := parseEvent(line)
	if !ok {
		c.log(string(line))
		return
	}
	c.events++
	switch {
	case ev.Package == "":
		c.log(ev.Output) // build-output and build-fail name no package
	case ev.Test == "":
		c.packageEvent(c.pkg(ev.Package), ev)
	default:
		c.testEvent(c.pkg(ev.Package).test(ev.Test), ev)
	}
}

func (c *collector) packageEvent(p *packageRun, ev event) {
	switch ev.Action {
	case "output":
		if c.opts.Verbose || ev.Output != "PASS\n" {
			c.log(ev.Output)
		}
	case "pass", "fail", "skip":
		p.ended = ev.Action
		p.build = ev.FailedBuild
		c.logUnfinished(p)
	}
}

func (c *collector) testEvent(t *testRun, ev event) {
	switch ev.Action {
	case "output":
		t.output = append(t.output, ev.Output)
		if c.opts.Verbose {
			c.log(ev.Output)
		}
	case "fail":
		t.ended = "fail"
		c.logTest(t)
	case "pass", "skip":
		// With -count=2, one failure in two runs is a failure.
		if t.ended != "fail" {
			t.ended = ev.Action
		}
		if ev.Action == "pass" {
			t.output = nil
		}
	}
}

// logUnfinished logs the tests that never ended, for example because of a panic.
func (c *collector) logUnfinished(p *packageRun) {
	for _, t := range p.order {
		if t.ended != "" || t.parent {
			continue
		}
		c.log("=== " + p.path + " " + t.name + " did not finish\n")
		c.logTest(t)
	}
}

// logTest logs the output of a failed test, unless it was logged as it came.
func (c *collector) logTest(t *testRun) {
	if c.opts.Verbose {
		return
	}
	for _, line := range t.output {
		if !isFrame(line) {
			c.log(line)
		}
	}
}

// log writes text to the log. An unwritable log is no reason to lose the
// report, so log drops the error.
func (c *collector) log(text string) {
	_, _ = io.WriteString(c.opts.Log, text)
}

// finish makes the report from all events.
func (c *collector) finish() *Report {
	r := &Report{}
	for _, p := range c.order {
		if p.ended == "" {
			c.logUnfinished(p)
		}
		r.Results = append(r.Results, p.results()...)
	}
	return r
}

func (c *collector) pkg(path string) *packageRun {
	p := c.byPath[path]
	if p == nil {
		p = &packageRun{path: path, byName: map[string]*testRun{}}
		c.byPath[path] = p
		c.order = append(c.order, p)
	}
	return p
}

func (p *packageRun) test(name string) *testRun {
	t := p.byName[name]
	if t == nil {
		t = &testRun{name: name}
		p.byName[name] = t
		p.order = append(p.order, t)
		p.markParents(name)
	}
	return t
}

// markParents marks the tests that a new test is a subtest of. They began
// before the new test. A subtest whose own name has a slash looks like a
// subtest of a test that never began.
func (p *packageRun) markParents(name string) {
	for parent := range parents(name) {
		if t := p.byName[parent]; t != nil {
			t.parent = true
		}
	}
}

// parents yields the names of the tests that a subtest may be part of.
func parents(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
			if !yield(name[:i]) {
				return
			}
		}
	}
}
