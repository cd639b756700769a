// Package bats runs bats, the test system for bash, reads what it prints of its tests, and compares the outcomes with two drivers.
package bats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// An Outcome is how a test ended.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Outcomes has the outcome of each test, by the test's name. The second of two tests of one name has " (2)" after it, and so on.
type Outcomes map[string]Outcome

// overlayPattern matches a pattern of a case statement that overlay is among, such as "btrfs|overlay*|vfs)".
var overlayPattern = regexp.MustCompile(`(?m)^(\s*)((?:\w+\*?\|)*overlay\*?(?:\|\w+\*?)*\)(?: *;;)?)$`)

// Open changes the tests in a directory: what they do with the overlay driver they do with the given one as well.
func Open(dir, driver string) error {
	tests, err := filepath.Glob(filepath.Join(dir, "*.bats"))
	if err != nil {
		return err
	}
	helpers, err := filepath.Glob(filepath.Join(dir, "*.bash"))
	if err != nil {
		return err
	}
	for _, file := range append(tests, helpers...) {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, opened(content, driver), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func opened(script []byte, driver string) []byte {
	return overlayPattern.ReplaceAll(script, []byte("${1}"+driver+"|${2}"))
}

// testTime is how many seconds a test may take. It is for an emulated machine.
const testTime = "1200"

// Run runs a command that calls bats --tap, until it ends or the context of the command does. It writes the output to out as it comes. That
// tests fail is no error, and a test that takes longer than testTime fails.
func Run(ctx context.Context, cmd *exec.Cmd, out io.Writer) (Outcomes, error) {
	var tap bytes.Buffer
	cmd.Stdout = io.MultiWriter(&tap, out)
	cmd.Stderr = cmd.Stdout
	cmd.Env = append(cmd.Environ(), "BATS_TEST_TIMEOUT="+testTime)
	err := cmd.Run()
	if status := (*exec.ExitError)(nil); ctx.Err() != nil || err != nil && !errors.As(err, &status) {
		return nil, errors.Join(context.Cause(ctx), err)
	}
	return Parse(tap.String())
}

// result matches the line of a test.
var result = regexp.MustCompile(`(?m)^(not ok|ok) \d+ (.*?)( # skip.*)?$`)

// planned matches the line with the number of tests.
var planned = regexp.MustCompile(`(?m)^1\.\.\d+$`)

// Parse reads the output of bats --tap. It returns an error if there is not a result for each of the tests that bats was to run.
func Parse(tap string) (Outcomes, error) {
	found := Outcomes{}
	for _, m := range result.FindAllStringSubmatch(tap, -1) {
		name := m[2]
		for n := 2; found[name] != ""; n++ {
			name = fmt.Sprintf("%s (%d)", m[2], n)
		}
		switch {
		case m[1] != "ok":
			found[name] = Failed
		case m[3] != "":
			found[name] = Skipped
		default:
			found[name] = Passed
		}
	}
	if plan := fmt.Sprintf("1..%d\n", len(found)); len(found) == 0 || !strings.Contains("\n"+tap, "\n"+plan) {
		return nil, fmt.Errorf("bats has results of %d tests, and planned others (%s)", len(found), strings.Join(planned.FindAllString(tap, -1), ", "))
	}
	return found, nil
}

// row is the row of a table with the number of tests of each outcome.
func (o Outcomes) row(name string) string {
	n := map[Outcome]int{}
	for _, one := range o {
		n[one]++
	}
	return fmt.Sprintf("| %s | %d | %d | %d |\n", name, n[Passed], n[Failed], n[Skipped])
}

// A Comparison says which outcomes are right.
type Comparison struct {
	// Expected has the tests that must end otherwise with aufs than with overlay, each with the reason. A run need not have all of them.
	Expected map[string]string
	// MayFail says that a test may fail with both drivers.
	MayFail bool
}

// Print prints a table of both outcomes, and a row for each test that ends otherwise with aufs than with overlay, or fails with both. It returns
// an error if one of these is not expected, if an expected difference is not there, or if no test passed with both.
func (c Comparison) Print(out io.Writer, aufs, overlay Outcomes) error {
	fmt.Fprintf(out, "| driver | passed | failed | skipped |\n|---|---|---|---|\n%s%s", aufs.row("aufs"), overlay.row("overlay"))
	fmt.Fprint(out, "\n| test | aufs | overlay | why |\n|---|---|---|---|\n")
	var unexpected []string
	passed := 0
	for _, name := range slices.Sorted(maps.Keys(overlay)) {
		why, isExpected := c.Expected[name]
		differs := aufs[name] != overlay[name]
		fails := overlay[name] == Failed
		if differs != isExpected || fails && !c.MayFail {
			unexpected = append(unexpected, name)
		}
		if !differs && overlay[name] == Passed {
			passed++
		}
		if differs || isExpected || fails {
			fmt.Fprintf(out, "| %s | %s | %s | %s |\n", name, aufs[name], overlay[name], why)
		}
	}
	if len(aufs) != len(overlay) || len(aufs) == 0 {
		return fmt.Errorf("%d tests ran with aufs, and %d with overlay", len(aufs), len(overlay))
	}
	if len(unexpected) > 0 {
		return errors.New("not as expected: " + strings.Join(unexpected, "; "))
	}
	if passed == 0 {
		return errors.New("no test passed with both")
	}
	return nil
}
