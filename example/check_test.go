//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	home := t.TempDir()
	run := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := check(context.Background(), args, &out, &errs); got != want {
			t.Errorf("check %q: %d, not %d\n%s%s", args, got, want, out.String(), errs.String())
		}
		return out.String() + errs.String()
	}
	if text := run(2, home); !strings.Contains(text, "is no store") {
		t.Error(text)
	}
	run(2)
	run(2, "-nothing", home)
	for _, dir := range []string{"layers", "diff", "mnt", "diff/gone"} {
		if err := os.Mkdir(filepath.Join(home, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if text := run(1, home); !strings.Contains(text, "orphan: layer gone") || !strings.Contains(text, filepath.Join(home, "diff/gone")) {
		t.Error(text)
	}
	if text := run(0, "-repair", home); text != "no problems\n" {
		t.Error(text)
	}
	if _, err := os.Lstat(filepath.Join(home, "diff/gone")); err == nil {
		t.Error("diff/gone is still there")
	}
	run(0, home)
}
