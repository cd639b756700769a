//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConvert(t *testing.T) {
	home := t.TempDir()
	run := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := convert(context.Background(), args, &out, &errs); got != want {
			t.Errorf("convert %q: %d, not %d\n%s%s", args, got, want, out.String(), errs.String())
		}
		return out.String() + errs.String()
	}
	if text := run(2, home); !strings.Contains(text, "is no store") {
		t.Error(text)
	}
	run(2)
	run(2, "-nothing", home)
	for _, dir := range []string{"layers", "diff", "mnt", "overlay", "overlay/form"} {
		mkdir(t, filepath.Join(home, dir))
	}
	run(0, home)

	// aufs form cannot hold the second layer: the whiteout of such a long name would have too long
	// a name.
	long := strings.Repeat("n", 252)
	for id, deleted := range map[string]string{"container": "file", "stuck": long} {
		for _, dir := range []string{"diff", "mnt"} {
			mkdir(t, filepath.Join(home, dir, id))
		}
		err := os.WriteFile(filepath.Join(home, "layers", id), []byte("image\n"), 0o644)
		if err == nil {
			err = unix.Mknod(filepath.Join(home, "diff", id, deleted), unix.S_IFCHR, 0)
		}
		if err == nil {
			err = os.Symlink("trusted", filepath.Join(home, "overlay/form", id))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text := run(1, home)
	for _, want := range []string{"converted: layer container\n", "converting layer stuck: ", long, "file name too long"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if info, err := os.Lstat(filepath.Join(home, "diff/container/.wh.file")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the whiteout in aufs's form: %v, %v", info, err)
	}
	if info, err := os.Lstat(filepath.Join(home, "diff/stuck", long)); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("the whiteout that aufs has no form for: %v, %v", info, err)
	}

	if err := os.Remove(filepath.Join(home, "layers/stuck")); err != nil {
		t.Fatal(err)
	}
	if text := run(0, home); text != "all layers are in aufs form\n" {
		t.Error(text)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}
