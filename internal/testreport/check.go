package testreport

import "fmt"

// Problems returns why a run is not good: failed tests and, for each backend of
// noSkip, skipped tests or no test at all. A good run has no problems.
func (r *Report) Problems(noSkip []string) []string {
	var problems []string
	if n := r.Total().Failed; n > 0 {
		problems = append(problems, fmt.Sprintf("%d failed", n))
	}
	for _, backend := range noSkip {
		c := r.Backend(backend)
		if c.Skipped > 0 {
			problems = append(problems, fmt.Sprintf(
				"%d tests of %s were skipped, and none may be", c.Skipped, backend))
		}
		if c.Run() == 0 {
			problems = append(problems, fmt.Sprintf("no test of %s was run", backend))
		}
	}
	return problems
}
