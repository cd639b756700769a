//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	var s suite
	flag.StringVar(&s.library, "library", "go.podman.io/storage@v1.65.1", "`module@version` of the storage library")
	flag.StringVar(&s.backend, "backend", "auto", "the driver's option `backend`")
	flag.StringVar(&s.dir, "dir", "", "the `directory` for the copy of the library")
	flag.BoolVar(&s.noBuild, "nobuild", false, "take the copy that is there, and do not make it anew")
	flag.BoolVar(&s.noRun, "norun", false, "make the copy, and run no tests")
	flag.BoolVar(&s.verbose, "v", false, "show the output of the tests")
	flag.StringVar(&s.tests, "tests", "*.bats", "`pattern` of the test files to run")
	flag.Parse()
	if s.dir == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, s); err != nil {
		fmt.Fprintln(os.Stderr, "storagetest:", err)
		os.Exit(1)
	}
}

// run runs the tests with both drivers, and prints what differs.
func run(ctx context.Context, out io.Writer, s suite) (err error) {
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if !s.noBuild {
		if err := s.build(ctx); err != nil {
			return err
		}
	}
	if s.noRun {
		return nil
	}
	ours, err := s.run(ctx, ours)
	if err != nil {
		return err
	}
	overlay, err := s.run(ctx, "overlay")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s, backend %s:\n", s.library, s.backend)
	fmt.Fprintf(out, "| driver | passed | failed | skipped |\n|---|---|---|---|\n%s%s", ours.row("aufs"), overlay.row("overlay"))
	return compare(out, ours, overlay)
}

// An outcome is how a test ended.
type outcome string

const (
	passed  outcome = "passed"
	failed  outcome = "failed"
	skipped outcome = "skipped"
)

// outcomes has the outcome of each test, by the test's name.
type outcomes map[string]outcome

// row is the row of a table with the number of tests of each outcome.
func (o outcomes) row(name string) string {
	n := map[outcome]int{}
	for _, one := range o {
		n[one]++
	}
	return fmt.Sprintf("| %s | %d | %d | %d |\n", name, n[passed], n[failed], n[skipped])
}

// compare prints a row for each test that ends otherwise with ours than with overlay, or fails with both. It returns an error if one of
// these is not expected, or an expected difference is not there.
func compare(out io.Writer, ours, overlay outcomes) error {
	var unexpected []string
	fmt.Fprint(out, "\n| test | aufs | overlay | why |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(overlay)) {
		why, isExpected := expected[name]
		differs := ours[name] != overlay[name]
		fails := overlay[name] == failed
		if differs != isExpected || fails {
			unexpected = append(unexpected, name)
		}
		if differs || isExpected || fails {
			fmt.Fprintf(out, "| %s | %s | %s | %s |\n", name, ours[name], overlay[name], why)
		}
	}
	if len(ours) != len(overlay) || len(ours) == 0 {
		return fmt.Errorf("%d tests ran with aufs, and %d with overlay", len(ours), len(overlay))
	}
	if len(unexpected) > 0 {
		return errors.New("not as expected.go says: " + strings.Join(unexpected, "; "))
	}
	return nil
}
