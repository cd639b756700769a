//go:build linux

package main

import (
	"io"
	"maps"
	"strings"
	"testing"
)

func TestOpenTests(t *testing.T) {
	for from, to := range map[string]string{
		"\toverlay*|vfs)\n":          "\taufs|overlay*|vfs)\n",
		"\tbtrfs|overlay*|vfs|zfs)":  "\taufs|btrfs|overlay*|vfs|zfs)",
		"x\n  overlay)\n\t\t;;\n":    "x\n  aufs|overlay)\n\t\t;;\n",
		"\tvfs)\n":                   "\tvfs)\n",
		"\t*)\n":                     "\t*)\n",
		"umount ${TESTDIR}/overlay)": "umount ${TESTDIR}/overlay)",
	} {
		if got := string(openTests([]byte(from))); got != to {
			t.Errorf("%q became %q", from, got)
		}
	}
}

func TestParse(t *testing.T) {
	got, err := parse("1..4\nok 1 a test\n# a line\nnot ok 2 another\n# (in test file)\nok 3 a third # skip no reflinks\nok 4 with # in it\n")
	want := outcomes{"a test": passed, "another": failed, "a third": skipped, "with # in it": passed}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, tap := range []string{"", "bats: not found\n", "1..0\n", "1..2\nok 1 a\n", "1..2\nok 1 a\nok 2 a\n"} {
		if got, err := parse(tap); err == nil {
			t.Errorf("%q: %v", tap, got)
		}
	}
}

func TestCompare(t *testing.T) {
	defer func(e map[string]string) { expected = e }(expected)
	expected = map[string]string{"known": "a reason"}
	overlay := outcomes{"a": passed, "known": passed}
	for name, test := range map[string]struct {
		ours outcomes
		want string // in the error; "" for none
	}{
		"as expected":      {outcomes{"a": passed, "known": failed}, ""},
		"a new difference": {outcomes{"a": skipped, "known": failed}, ": a"},
		"one that is gone": {outcomes{"a": passed, "known": passed}, ": known"},
		"one too few":      {outcomes{"known": failed}, "1 tests"},
		"none":             {outcomes{}, "0 tests"},
		"fails with both":  {outcomes{"a": passed, "known": failed, "b": failed}, ": b"},
	} {
		t.Run(name, func(t *testing.T) {
			other := maps.Clone(overlay)
			if test.ours["b"] == failed {
				other["b"] = failed
			}
			err := compare(io.Discard, test.ours, other)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Error(err)
			}
		})
	}
}
