package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	tests := []struct {
		name, file string
		args       []string
		status     int
		last       string
	}{
		{"failures", "good.json", nil, 1, "5 passed, 2 failed, 2 skipped"},
		{"nothing to run", "empty.json", nil, 0, "0 passed, 0 failed, 0 skipped"},
		{"overlay missing", "empty.json", []string{"-noskip", "overlay"}, 1, "0 passed, 0 failed, 0 skipped"},
		{"absent", "empty.json", []string{"-absent", "aufs=not here"}, 0, "0 passed, 0 failed, 0 skipped"},
		{"no input", os.DevNull, nil, 1, "0 passed, 0 failed, 0 skipped"},
		{"wrong backend", "empty.json", []string{"-noskip", "zfs"}, 2, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := test.file
			if !filepath.IsAbs(path) {
				path = filepath.Join("..", "testdata", path)
			}
			in, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			var out strings.Builder
			if got := run(test.args, in, &out, io.Discard); got != test.status {
				t.Errorf("got status %d, want %d", got, test.status)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if got := lines[len(lines)-1]; got != test.last {
				t.Errorf("got last line %q, want %q", got, test.last)
			}
		})
	}
}
