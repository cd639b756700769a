//go:build linux

package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestDiffer(t *testing.T) {
	got := differ("prints", "a\nb\nb\n", "b\nc\n")
	want := []string{"only aufs prints a", "only aufs prints b", "only overlay prints c"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestCompare(t *testing.T) {
	expected := []difference{{"known", "only aufs prints known", "a reason"}, {"known", "only aufs prints known", "a reason"}}
	same := results{{step: "one", stdout: "x\n"}}
	known := func(stdout string) results { return results{{step: "known", stdout: stdout}} }
	for name, test := range map[string]struct {
		ours, overlay results
		want          string // in the error; "" for none
	}{
		"equal":            {same, same, ""},
		"expected":         {known("x\nknown\nknown\n"), known("x\n"), ""},
		"once too often":   {known("known\nknown\nknown\n"), known(""), ": known"},
		"once too little":  {known("known\n"), known(""), ": known"},
		"gone":             {known("known\n"), known("known\n"), ": known"},
		"in another step":  {results{{step: "one", stdout: "x\nknown\n"}}, same, ": one"},
		"not expected":     {results{{step: "one", stdout: "y\n"}}, same, ": one"},
		"a warning":        {results{{step: "one", stdout: "x\n", stderr: "w\n"}}, same, ": one"},
		"fails with both":  {results{{step: "one", failed: "exit status 1"}}, results{{step: "one", failed: "exit status 1"}}, ": one"},
		"fails with ours":  {results{{step: "one", stdout: "x\n", failed: "exit status 1"}}, same, ": one"},
		"none":             {nil, nil, "0 steps"},
		"less than theirs": {nil, same, "0 steps"},
	} {
		t.Run(name, func(t *testing.T) {
			err := compare(io.Discard, expected, test.ours, test.overlay)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Error(err)
			}
		})
	}
}

func TestClean(t *testing.T) {
	id := strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		"sha256:" + id + " " + id[:12]:           "<id> <id>",
		"/the/dir/root/aufs/mnt/" + id:           "<mount>",
		"/the/dir/root/aufs/diff":                "<home>/diff",
		"at 2026-01-02 03:04:05.6 +0000 UTC end": "at <time> end",
		"2026-01-02T03:04:05.678Z":               "<time>",
		"Driver: aufs":                           "Driver: <driver>",
		"0123 aufsx":                             "0123 aufsx",
	} {
		if got := clean(text, "/the/dir", "aufs"); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
