package testreport

import (
	"fmt"
	"slices"
	"strings"
)

// Problems returns why a run is not good: failed tests and, for each backend of
// noSkip, skipped tests or no test at all. A good run has no problems. A test may
// be skipped for a reason that begins with one of mayMiss.
func (r *Report) Problems(noSkip, mayMiss []string) []string {
	var problems []string
	if n := r.Total().Failed; n > 0 {
		problems = append(problems, fmt.Sprintf("%d failed", n))
	}
	for _, backend := range noSkip {
		skipped := 0
		for _, res := range r.With(Skipped) {
			begins := func(reason string) bool { return strings.HasPrefix(res.Reason, reason) }
			if res.Backend == backend && !slices.ContainsFunc(mayMiss, begins) {
				skipped++
			}
		}
		if skipped > 0 {
			problems = append(problems, fmt.Sprintf(
				"%d tests of %s were skipped, and none may be", skipped, backend))
		}
		if r.Backend(backend).Run() == 0 {
			problems = append(problems, fmt.Sprintf("no test of %s was run", backend))
		}
	}
	return problems
}
