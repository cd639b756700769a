//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/seed-642172e2/aufs/internal/testreport"
	"github.com/seed-642172e2/aufs/internal/vmtest/console"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

const (
	// mostFindings is how many kernel complaints the report shows.
	mostFindings = 20
	// tailLines is how many lines of the console the report shows if the guest did not finish.
	tailLines = 60
)

// print writes the report on a run, and returns the run's problems.
func (r *result) print(w io.Writer, opts options) ([]string, error) {
	problems := r.problems(opts)
	var b bytes.Buffer
	r.printConsole(&b)
	for _, example := range r.examples {
		fmt.Fprintf(&b, "\n%s on %s:\n%s", example.Name, example.Backend, indent(example.Output))
	}
	if r.ranTests() {
		if err := r.printTests(&b, opts); err != nil {
			return problems, err
		}
	}
	if err := r.printTable(&b, opts); err != nil {
		return problems, err
	}
	for _, problem := range problems {
		fmt.Fprintf(&b, "FAILED: %s\n", strings.TrimSpace(problem))
	}
	if len(problems) == 0 {
		fmt.Fprintln(&b, "OK")
	}
	_, err := w.Write(b.Bytes())
	return problems, err
}

// printConsole writes the parts of the console worth reading.
func (r *result) printConsole(w io.Writer) {
	if !r.done {
		fmt.Fprintf(w, "\nend of the console:\n%s", indent(tailOf(string(r.console), tailLines)))
	}
	for i, finding := range r.findings {
		if i == mostFindings {
			fmt.Fprintf(w, "\n%d more findings are in %s\n", len(r.findings)-i, consoleLog)
			break
		}
		during := "before the first test"
		if finding.Test != "" {
			during = "during " + finding.Test
		}
		fmt.Fprintf(w, "\nkernel, %s:\n%s", during, indent(strings.Join(finding.Lines, "\n")))
	}
}

// printTests writes the test results of each library, all its suites together.
func (r *result) printTests(w io.Writer, opts options) error {
	for _, name := range opts.libraries {
		if len(opts.libraries) > 1 {
			fmt.Fprintf(w, "\nlibrary %s:\n", name)
		}
		report := r.reportOf(opts.suitesOf(libraryNamed(name))...)
		if err := report.Print(w, absent(report, opts)); err != nil {
			return err
		}
	}
	return nil
}

// printTable writes what ran, on what, and all results except those of single tests.
func (r *result) printTable(w io.Writer, opts options) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(t, "%s\t%s\n", name, value) }
	fmt.Fprintln(t)
	if r.kernel != nil {
		row("kernel", r.kernel.Release)
		row("aufs", aufsVersion(r.kernel, r.console))
		if r.kernel.Aufs {
			row("branch limit", r.kernel.BranchLimit)
		}
	}
	row("file system", opts.fs)
	if r.command != nil {
		row("command", verdict(*r.command))
	}
	if r.bench != nil {
		row("benchmarks", verdict(*r.bench))
	}
	for _, tests := range r.tests {
		row("tests of "+tests.Suite, verdict(tests.Exit))
	}
	if opts.image == "" && opts.runsTests() {
		row("tests of images", "left out: no image")
	}
	for _, example := range r.examples {
		row(example.Name+" on "+example.Backend, verdict(example.Exit))
	}
	if opts.run != "" && opts.runsTests() {
		row("example", "left out: some tests were chosen")
	}
	row("kernel's complaints", fmt.Sprint(len(r.findings)))
	row("console", consoleLog)
	return t.Flush()
}

// aufsVersion returns the version that the kernel reports, or else the one on the console.
func aufsVersion(kernel *wire.Kernel, log []byte) string {
	if !kernel.Aufs {
		return "none"
	}
	if kernel.AufsVersion != "" {
		return kernel.AufsVersion
	}
	if version := console.AufsVersion(string(log)); version != "" {
		return version
	}
	return "of unknown version"
}

func verdict(exit wire.Exit) string {
	word := "ok"
	if exit.Error != "" {
		word = "FAILED: " + exit.Error
	}
	return fmt.Sprintf("%s (%v)", word, exit.Elapsed.Round(time.Millisecond))
}

// absent returns why no test ran on a backend: for each backend on which none
// ran, and which was not asked for.
func absent(report *testreport.Report, opts options) map[string]string {
	reasons := map[string]string{}
	for _, backend := range []string{"aufs", "overlay"} {
		if !slices.Contains(opts.backends, backend) && report.Backend(backend).Run() == 0 {
			reasons[backend] = "not asked for"
		}
	}
	return reasons
}

// tailOf returns the last lines of a text.
func tailOf(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// indent indents all lines, and ends the last one. It drops control characters,
// because firmware writes some to the console that clear a terminal.
func indent(text string) string {
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		b.WriteString("    " + strings.Map(printable, line) + "\n")
	}
	return b.String()
}

func printable(r rune) rune {
	if r != '\t' && unicode.IsControl(r) {
		return -1
	}
	return r
}
