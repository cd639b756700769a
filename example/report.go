package main

import (
	"fmt"
	"strings"
)

// shown is how many differences an error shows.
const shown = 10

// report returns an error that lists the differences between two trees, or nil
// if there are none.
func report(a, b string, diffs []difference) error {
	lines := make([]string, 0, len(diffs))
	for _, d := range diffs {
		lines = append(lines, d.String())
	}
	return reportLines(fmt.Sprintf("%s and %s differ (values in this order)", a, b), lines)
}

// reportLines returns an error that shows the first ten lines, or nil if there are none.
func reportLines(what string, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	more := ""
	if n := len(lines) - shown; n > 0 {
		lines, more = lines[:shown], fmt.Sprintf("\n  and %d more", n)
	}
	return fmt.Errorf("%s:\n  %s%s", what, strings.Join(lines, "\n  "), more)
}
