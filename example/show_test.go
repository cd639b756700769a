package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestDrawBranches(t *testing.T) {
	got := drawBranches("mnt", []branch{
		{Access: "rw", Path: "diff/ü", Files: 1, Dirs: 2, Whiteouts: 3},
		{Access: "ro", Path: "diff/base", Files: 12345},
	})
	for _, want := range []string{"rw  diff/ü          1 files", "ro  diff/base   12345 files", "│ mnt "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	for _, line := range lines {
		if utf8.RuneCountInString(line) != utf8.RuneCountInString(lines[0]) {
			t.Errorf("line %q is not as wide as the others", line)
		}
	}
}

func TestWriteTable(t *testing.T) {
	var b bytes.Buffer
	if err := writeTable(&b, []step{{"one", time.Second, "x"}, {"second", 1500 * time.Millisecond, ""}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one      1.00 s   x\n", "second   1.50 s", "all      2.50 s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		thousands(0): "0", thousands(999): "999", thousands(1000): "1,000", thousands(1234567): "1,234,567",
		count(1, "file"): "1 file", count(0, "file"): "0 files", count(1002, "file"): "1,002 files",
		megabytes(1_550_000): "1.6 MB",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestReportShowsTenLines(t *testing.T) {
	if err := reportLines("x", nil); err != nil {
		t.Errorf("got %v for nothing, want nil", err)
	}
	err := reportLines("bad", strings.Split(strings.Repeat("line ", 12), " ")[:12])
	if n := strings.Count(err.Error(), "line"); n != 10 {
		t.Errorf("%d lines are shown, want 10", n)
	}
	if !strings.HasSuffix(err.Error(), "and 2 more") {
		t.Errorf("%q does not say how many more there are", err)
	}
}

func TestProgressStopsBetweenSteps(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var b bytes.Buffer
	p := &progress{ctx: ctx, out: &b}
	if err := p.run("first", 0, func(func(int64)) (string, error) { cancel(); return "done", nil }); err != nil {
		t.Fatal(err)
	}
	err := p.run("second", 0, func(func(int64)) (string, error) { t.Error("the second step ran"); return "", nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if !strings.Contains(b.String(), "first") || len(p.steps) != 1 {
		t.Errorf("steps %v, printed %q", p.steps, b.String())
	}
}

func TestProgressBarEndsWithTheStep(t *testing.T) {
	for _, total := range []int64{0, 10} {
		var b bytes.Buffer
		p := &progress{ctx: context.Background(), out: &b, bars: true}
		fail := errors.New("failed")
		err := p.run("step", total, func(add func(int64)) (string, error) { add(3); return "", fail })
		if !errors.Is(err, fail) || len(p.steps) != 0 {
			t.Errorf("got %v and %d steps, want %v and none", err, len(p.steps), fail)
		}
	}
}
