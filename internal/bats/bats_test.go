package bats

import (
	"io"
	"maps"
	"os/exec"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	got, err := Parse("1..5\nok 1 a test\n# a line\nnot ok 2 another\n# (in test file)\nok 3 a third # skip no reflinks\nok 4 with # in it\nok 5 a test\n")
	want := Outcomes{"a test": Passed, "another": Failed, "a third": Skipped, "with # in it": Passed, "a test (2)": Passed}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, tap := range []string{"", "bats: not found\n", "1..0\n", "1..2\nok 1 a\n", "1..1\nok 1 a\nok 2 a\n"} {
		if got, err := Parse(tap); err == nil {
			t.Errorf("%q: %v", tap, got)
		}
	}
}

func TestRun(t *testing.T) {
	var log strings.Builder
	cmd := exec.Command("sh", "-c", "echo 1..1; echo not ok 1 a >&2; exit 1")
	got, err := Run(t.Context(), cmd, &log)
	if want := "1..1\nnot ok 1 a\n"; err != nil || !maps.Equal(got, Outcomes{"a": Failed}) || log.String() != want {
		t.Errorf("%v, %v; the log has %q", got, err, log.String())
	}
	if got, err := Run(t.Context(), exec.Command("/not/a/program"), io.Discard); err == nil {
		t.Errorf("there is no program, and no error: %v", got)
	}
}

func TestPrint(t *testing.T) {
	overlay := Outcomes{"a": Passed, "known": Passed}
	for name, test := range map[string]struct {
		aufs    Outcomes
		overlay Outcomes // nil: both passed
		mayFail bool
		want    string // in the error; "" for none
	}{
		"as expected":        {aufs: Outcomes{"a": Passed, "known": Failed}},
		"a new difference":   {aufs: Outcomes{"a": Skipped, "known": Failed}, want: ": a"},
		"one that is gone":   {aufs: Outcomes{"a": Passed, "known": Passed}, want: ": known"},
		"one too few":        {aufs: Outcomes{"known": Failed}, want: "1 tests"},
		"none":               {aufs: Outcomes{}, want: "0 tests"},
		"fails with both":    {aufs: Outcomes{"a": Passed, "known": Failed, "b": Failed}, want: ": b"},
		"may fail with both": {aufs: Outcomes{"a": Passed, "known": Failed, "b": Failed}, mayFail: true},
		"all fail":           {aufs: Outcomes{"a": Failed, "known": Failed}, overlay: Outcomes{"a": Failed, "known": Passed}, mayFail: true, want: "no test passed"},
		"fails, and may":     {aufs: Outcomes{"a": Failed, "known": Failed}, mayFail: true, want: ": a"},
	} {
		t.Run(name, func(t *testing.T) {
			other := maps.Clone(test.overlay)
			if other == nil {
				other = maps.Clone(overlay)
			}
			if test.aufs["b"] == Failed {
				other["b"] = Failed
			}
			c := Comparison{Expected: map[string]string{"known": "a reason"}, MayFail: test.mayFail}
			err := c.Print(io.Discard, test.aufs, other)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Error(err)
			}
		})
	}
}

func TestOpened(t *testing.T) {
	for from, to := range map[string]string{
		"\toverlay*|vfs)\n":          "\taufs|overlay*|vfs)\n",
		"\tbtrfs|overlay*|vfs|zfs)":  "\taufs|btrfs|overlay*|vfs|zfs)",
		"x\n  overlay)\n\t\t;;\n":    "x\n  aufs|overlay)\n\t\t;;\n",
		"\tvfs)\n":                   "\tvfs)\n",
		"\toverlay) ;;\n":            "\taufs|overlay) ;;\n",
		"\t*)\n":                     "\t*)\n",
		"umount ${TESTDIR}/overlay)": "umount ${TESTDIR}/overlay)",
	} {
		if got := string(opened([]byte(from), "aufs")); got != to {
			t.Errorf("%q became %q", from, got)
		}
	}
}
