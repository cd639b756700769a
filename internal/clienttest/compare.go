//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// compare prints the lines in which a step differs between the drivers. It returns an error if a step failed, or if a line differs that is not
// expected.
func compare(out io.Writer, ours, overlay results) error {
	if len(ours) != len(overlay) || len(ours) == 0 {
		return fmt.Errorf("%d steps with aufs, and %d with overlay", len(ours), len(overlay))
	}
	var wrong []string
	for i, r := range ours {
		lines := append(differ("prints", r.stdout, overlay[i].stdout), differ("warns", r.stderr, overlay[i].stderr)...)
		for _, line := range lines {
			why := expected[line]
			if why == "" {
				wrong = append(wrong, r.step)
				why = "NOT EXPECTED"
			}
			fmt.Fprintf(out, "%s: %s: %s\n", r.step, line, why)
		}
		for _, failed := range []string{r.failed, overlay[i].failed} {
			if failed != "" {
				wrong = append(wrong, r.step)
			}
		}
	}
	if len(wrong) > 0 {
		return errors.New("steps that failed or differ: " + strings.Join(slices.Compact(wrong), ", "))
	}
	fmt.Fprintf(out, "%d steps, with no difference that is not expected\n", len(ours))
	return nil
}

// differ returns the lines that only one of two texts has.
func differ(verb, ours, overlay string) []string {
	var lines []string
	for _, side := range []struct{ driver, has, lacks string }{{"aufs", ours, overlay}, {"overlay", overlay, ours}} {
		others := map[string]int{}
		for line := range strings.Lines(side.lacks) {
			others[line]++
		}
		for line := range strings.Lines(side.has) {
			if others[line]--; others[line] < 0 {
				lines = append(lines, "only "+side.driver+" "+verb+" "+strings.TrimSuffix(line, "\n"))
			}
		}
	}
	return lines
}
