//go:build linux

package main

import "testing"

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
