package testreport

import (
	"bytes"
	"fmt"
	"io"
	"text/tabwriter"
)

// Print writes the report: the failed tests, the skipped tests with their
// reasons, and a table with a row for each backend. Absent maps backends on
// which no test ran to the reason, which Print writes below the table. The last
// line is "N passed, N failed, N skipped".
func (r *Report) Print(w io.Writer, absent map[string]string) error {
	var b bytes.Buffer
	printList(&b, "FAILED", r.With(Failed))
	printList(&b, "SKIPPED", r.With(Skipped))
	if err := r.printTable(&b); err != nil {
		return err
	}
	for _, backend := range Backends() {
		if reason, ok := absent[backend]; ok {
			fmt.Fprintf(&b, "%s was not run: %s\n", backend, reason)
		}
	}
	total := r.Total()
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped\n",
		total.Passed, total.Failed, total.Skipped)
	_, err := w.Write(b.Bytes())
	return err
}

func printList(w io.Writer, title string, results []Result) {
	if len(results) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, res := range results {
		fmt.Fprintf(w, "  %s", res.Name())
		if res.Reason != "" {
			fmt.Fprintf(w, ": %s", res.Reason)
		}
		fmt.Fprintln(w)
	}
}

func (r *Report) printTable(w io.Writer) error {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "backend\trun\tpassed\tfailed\tskipped\t")
	for _, backend := range Backends() {
		c := r.Backend(backend)
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t\n",
			backend, c.Run(), c.Passed, c.Failed, c.Skipped)
	}
	return t.Flush()
}
