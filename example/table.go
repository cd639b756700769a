package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// step is one finished step of the run.
type step struct {
	Name string
	Took time.Duration
	Note string // The result, like "15,036 files".
}

// writeTable writes how long each step took, and the sum.
func writeTable(w io.Writer, steps []step) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "step\ttime\tresult")
	fmt.Fprintln(tw, "────\t────\t──────")
	var total time.Duration
	for _, s := range steps {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", s.Name, seconds(s.Took), s.Note)
		total += s.Took
	}
	fmt.Fprintf(tw, "all\t%s\t\n", seconds(total))
	return tw.Flush()
}

// seconds formats a duration with two decimals.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// count formats a number with its noun: "1 file", "15,036 files".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return thousands(int64(n)) + " " + noun
}

// thousands formats a number with commas between groups of three digits.
func thousands(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// megabytes formats a number of bytes in units of 1,000,000.
func megabytes(n int64) string {
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
