package testreport

import (
	"regexp"
	"strings"
)

// results returns the results of a package: those of its leaf tests, those of
// failed tests none of whose subtests failed, and last the package's own, if
// the package failed and no test did.
func (p *packageRun) results() []Result {
	failed := p.explained()
	var results []Result
	for _, t := range p.order {
		outcome := t.outcome()
		if t.parent && (outcome != Failed || failed[t.name]) {
			continue
		}
		results = append(results, Result{
			Package: p.path,
			Test:    t.name,
			Backend: backendOf(t.name),
			Outcome: outcome,
			Reason:  t.reason(),
		})
	}
	if reason := p.failure(results); reason != "" {
		results = append(results, Result{
			Package: p.path,
			Backend: backendNone,
			Outcome: Failed,
			Reason:  reason,
		})
	}
	return results
}

// explained returns the set of tests that have a failed subtest.
func (p *packageRun) explained() map[string]bool {
	set := map[string]bool{}
	for _, t := range p.order {
		if t.outcome() != Failed {
			continue
		}
		for parent := range parents(t.name) {
			set[parent] = true
		}
	}
	return set
}

// failure returns why the package failed outside of its tests. It returns "" if
// the package did not fail, or if one of its tests failed.
func (p *packageRun) failure(results []Result) string {
	for _, res := range results {
		if res.Outcome == Failed {
			return ""
		}
	}
	switch {
	case p.build != "":
		return "build failed"
	case p.ended == "fail":
		return "failed outside of its tests"
	case p.ended == "":
		return "did not finish"
	}
	return ""
}

func (t *testRun) outcome() Outcome {
	switch t.ended {
	case "pass":
		return Passed
	case "skip":
		return Skipped
	default:
		return Failed // "fail", or "" if it never ended
	}
}

func (t *testRun) reason() string {
	switch t.ended {
	case "skip":
		return lastLog(t.output)
	case "":
		return "did not finish"
	}
	return ""
}

// logLine matches the beginning of a line of t.Log and similar calls: four
// blanks, more for a subtest's output inside its parent's, and the source line.
var logLine = regexp.MustCompile(`^\s+\S+\.go:\d+: `)

// lastLog returns the last text that a test logged, joined into one line. For a
// skipped test that is the reason.
func lastLog(output []string) string {
	var words []string
	for _, chunk := range output {
		for _, line := range strings.SplitAfter(chunk, "\n") {
			switch {
			case isFrame(line):
			case logLine.MatchString(line):
				words = strings.Fields(logLine.ReplaceAllString(line, ""))
			case len(words) > 0:
				words = append(words, strings.Fields(line)...)
			}
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

// isFrame reports whether package testing wrote the line of output to announce
// that a test begins, pauses, goes on, passes or is skipped.
func isFrame(line string) bool {
	return strings.HasPrefix(line, "=== ") ||
		strings.HasPrefix(strings.TrimLeft(line, " "), "--- SKIP: ") ||
		strings.HasPrefix(strings.TrimLeft(line, " "), "--- PASS: ")
}
