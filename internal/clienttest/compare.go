//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// compare prints the lines in which a step differs between the drivers. It returns an error if a step failed, if a line differs that is not
// expected, or if one does not differ that should.
func compare(out io.Writer, expected []difference, ours, overlay results) error {
	if len(ours) != len(overlay) || len(ours) == 0 {
		return fmt.Errorf("%d steps with aufs, and %d with overlay", len(ours), len(overlay))
	}
	var wrong []string
	for i, r := range ours {
		due := map[string][]string{} // the reasons for a line, each for one time
		for _, d := range expected {
			if d.step == r.step {
				due[d.line] = append(due[d.line], d.why)
			}
		}
		for _, line := range append(differ("prints", r.stdout, overlay[i].stdout), differ("warns", r.stderr, overlay[i].stderr)...) {
			why := "NOT EXPECTED"
			if reasons := due[line]; len(reasons) > 0 {
				why, due[line] = reasons[0], reasons[1:]
			} else {
				wrong = append(wrong, r.step)
			}
			fmt.Fprintf(out, "%s: %s: %s\n", r.step, line, why)
		}
		for _, line := range slices.Sorted(maps.Keys(due)) {
			if missing := len(due[line]); missing > 0 {
				wrong = append(wrong, r.step)
				fmt.Fprintf(out, "%s: %s: EXPECTED %d TIMES MORE\n", r.step, line, missing)
			}
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
