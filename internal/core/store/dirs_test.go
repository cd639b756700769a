//go:build linux

package store

import (
	"os"
	"path/filepath"
	"testing"
)

// TestIsThere asks for what is there, what is not there, and what the kernel cannot tell: behind a symbolic link to itself.
func TestIsThere(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "file"), nil, 0o600), os.Symlink("nowhere", filepath.Join(dir, "dangling")),
		os.Symlink("loop", filepath.Join(dir, "loop")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{
		"file": true, "dangling": true, "nothing": false, "nothing/below": false, "file/below": false, "dangling/below": false, "loop/below": true,
	} {
		if got := IsThere(filepath.Join(dir, name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
