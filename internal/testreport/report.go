package testreport

import "strings"

// Backends returns the possible values of a Result's Backend, in the order of
// the report's table.
func Backends() []string {
	return []string{"aufs", "overlay", backendNone}
}

// backendNone is the backend of a test that runs on no backend.
const backendNone = "none"

// An Outcome says how a test ended.
type Outcome int

// The outcomes of a test.
const (
	Passed Outcome = iota
	Failed
	Skipped
)

// A Result is the outcome of one leaf test, or the failure of a package outside
// of its tests. For a package, Test is empty.
type Result struct {
	Package string
	Test    string
	Backend string
	Outcome Outcome
	Reason  string // why it was skipped, or what is known about its failure
}

// Name returns the package's import path and, if there is one, the test's name.
func (r Result) Name() string {
	return strings.TrimSpace(r.Package + " " + r.Test)
}

// A Report is the outcome of a run of tests.
type Report struct {
	Results []Result // by package; those of a package in the order in which its tests began
}

// Counts are numbers of leaf tests.
type Counts struct {
	Passed, Failed, Skipped int
}

// Run returns the number of tests that passed or failed.
func (c Counts) Run() int { return c.Passed + c.Failed }

// Total counts all results.
func (r *Report) Total() Counts {
	return r.count(func(Result) bool { return true })
}

// Backend counts the results of one of the Backends.
func (r *Report) Backend(name string) Counts {
	return r.count(func(res Result) bool { return res.Backend == name })
}

// With returns the results that have the given outcome.
func (r *Report) With(o Outcome) []Result {
	var found []Result
	for _, res := range r.Results {
		if res.Outcome == o {
			found = append(found, res)
		}
	}
	return found
}

func (r *Report) count(want func(Result) bool) Counts {
	var c Counts
	for _, res := range r.Results {
		if !want(res) {
			continue
		}
		switch res.Outcome {
		case Passed:
			c.Passed++
		case Failed:
			c.Failed++
		case Skipped:
			c.Skipped++
		}
	}
	return c
}

// backendOf returns the backend that a test's name contains.
func backendOf(test string) string {
	for _, part := range strings.Split(test, "/") {
		if part == "aufs" || part == "overlay" {
			return part
		}
	}
	return backendNone
}
