//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDirents compares what is read of a directory with what package os reads of it: all types of files, names of all lengths and of
// bytes that are no text, and more of them than one call returns.
func TestDirents(t *testing.T) {
	dir := t.TempDir()
	must(t, errors.Join(
		os.Mkdir(filepath.Join(dir, "dir"), 0o755), os.Symlink("nowhere", filepath.Join(dir, "link")),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600), unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o600, 0),
		os.WriteFile(filepath.Join(dir, "\xff\xfe\n.."), nil, 0o600), os.WriteFile(filepath.Join(dir, "..."), nil, 0o600),
	))
	if os.Getuid() == 0 {
		must(t, errors.Join(
			unix.Mknod(filepath.Join(dir, "char"), unix.S_IFCHR|0o600, 0), unix.Mknod(filepath.Join(dir, "block"), unix.S_IFBLK|0o600, 0),
		))
	}
	for i := range 2000 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i, strings.Repeat("n", i%250))), nil, 0o600))
	}
	want, err := os.ReadDir(dir)
	must(t, err)
	got, err := listDir(dir)
	must(t, err)
	slices.SortFunc(got, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	if len(got) != len(want) {
		t.Fatalf("there are %d files, and should be %d", len(got), len(want))
	}
	for i, entry := range got {
		info, err := entry.Info()
		must(t, err)
		if entry.Name() != want[i].Name() || entry.Type() != want[i].Type() || entry.IsDir() != want[i].IsDir() || info.Mode().Type() != entry.Type() {
			t.Errorf("%q %v, and should be %q %v", entry.Name(), entry.Type(), want[i].Name(), want[i].Type())
		}
	}
	if _, err := listDir(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if _, err := listDir(filepath.Join(dir, "fifo")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a pipe: %v", err)
	}
}

// TestDirentsUntyped is about file systems that do not say of which type files are.
func TestDirentsUntyped(t *testing.T) {
	dir := t.TempDir()
	must(t, errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o755), os.WriteFile(filepath.Join(dir, "f"), nil, 0o600)))
	opened, err := openReal(dir)
	must(t, err)
	defer opened.close()
	read := make([]byte, 4096)
	n, err := unix.Getdents(opened.fd, read)
	must(t, err)
	read = read[:n]
	for at := 0; at < n; at += int(read[at+direntLength]) {
		read[at+direntKind] = unix.DT_UNKNOWN
	}
	types := func() map[string]fs.FileMode {
		entries, err := appendDirents(nil, opened, read)
		must(t, err)
		found := map[string]fs.FileMode{}
		for _, entry := range entries {
			found[entry.Name()] = entry.Type()
		}
		return found
	}
	if got := types(); len(got) != 2 || got["d"] != fs.ModeDir || got["f"] != 0 {
		t.Errorf("it has %v", got)
	}
	must(t, os.Remove(filepath.Join(dir, "f")))
	if got := types(); len(got) != 1 || got["d"] != fs.ModeDir {
		t.Errorf("when one is gone it has %v", got)
	}
}

// TestWalkedTreeRoot reads the root of a tree again and again, between other directories.
func TestWalkedTreeRoot(t *testing.T) {
	root := t.TempDir()
	write(t, root, files{"d/f": "f", "g": "g"})
	tree := walkedTree{root: root}
	defer tree.close()
	for _, rel := range []string{".", ".", "d", ".", "d"} {
		dir, err := tree.open(rel)
		must(t, err)
		listed, err := dir.listed()
		must(t, err)
		dir.close()
		info, err := os.Lstat(filepath.Join(root, rel))
		must(t, err)
		if statOf(info).Ino != listed.st.Ino {
			t.Errorf("%s is another directory", rel)
		}
		var names []string
		for _, entry := range listed.entries {
			names = append(names, entry.Name())
		}
		if rel == "d" {
			sameNames(t, names, "f")
		} else {
			sameNames(t, names, "d", "g")
		}
	}
}
