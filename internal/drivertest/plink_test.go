//go:build linux

package drivertest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// linked makes a store whose base has a file with three names, and a layer child on top of it.
func linked(t *testing.T, name backend.Name) testStore {
	t.Helper()
	s := newStore(t, name)
	s.create(t, "", "base")
	base := s.inner.Home.Diff("base")
	write(t, base, files{"f": "old", "sub/": "", "other": "o"})
	must(t, os.Link(filepath.Join(base, "f"), filepath.Join(base, "sub/g")))
	must(t, os.Link(filepath.Join(base, "f"), filepath.Join(base, "gone")))
	s.create(t, "base", "child")
	return s
}

// writeThrough writes to a file in place.
func writeThrough(t *testing.T, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	_, err = f.WriteString(content)
	must(t, err)
	must(t, f.Close())
}

// TestPseudoLinksAreFlushed writes to a lower file through one of its names. The layer must get the file under each name that is left.
func TestPseudoLinksAreFlushed(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := linked(t, backend.Aufs)
		dir := s.get(t, "child")
		writeThrough(t, filepath.Join(dir, "f"), "new")
		must(t, os.Remove(filepath.Join(dir, "gone")))
		// While the layer is mounted, its archive has all names.
		want := []string{"f", "sub/", "sub/g", ".wh.gone"}
		sameNames(t, keysOf(s.diff(t, "child", "base")), want...)
		must(t, s.Put("child"))
		for _, path := range []string{"f", "sub/g"} {
			content, err := os.ReadFile(filepath.Join(s.inner.Home.Diff("child"), path))
			if err != nil || string(content) != "new" {
				t.Errorf("%s in the branch: %q, %v", path, content, err)
			}
		}
		sameNames(t, keysOf(s.diff(t, "child", "base")), want...)
		entries, err := os.ReadDir(filepath.Join(s.inner.Home.Diff("child"), whiteout.PseudoLinkDir))
		if err != nil || len(entries) > 0 {
			t.Errorf("pseudo-links are left: %v, %v", entries, err)
		}
		seen := s.see(t, "child")
		if seen["f"] != seen["sub/g"] {
			t.Errorf("f is %s\nsub/g is %s", seen["f"], seen["sub/g"])
		}
	})
}

// unflushed is what aufs logs when it is unmounted with pseudo-links.
const unflushed = "pseudo-link is not flushed"

// TestStalePseudoLinks uses pseudo-links that a driver has left because it did not flush: their inode numbers mean nothing any more, or
// another file. Nothing may be copied up for them.
func TestStalePseudoLinks(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := linked(t, backend.Aufs)
		dir := s.get(t, "child")
		writeThrough(t, filepath.Join(dir, "f"), "new")
		t.Cleanup(wire.ExpectMessages(unflushed))
		must(t, unix.Unmount(dir, 0))
		branch := s.inner.Home.Diff("child")
		entries, err := os.ReadDir(filepath.Join(branch, whiteout.PseudoLinkDir))
		if err != nil || len(entries) != 1 {
			t.Fatalf("without a flush there are %v, %v", entries, err)
		}
		const numbers = 40
		for ino := range numbers {
			// One of these pseudo-links has the inode number that "other" will have.
			must(t, os.WriteFile(filepath.Join(branch, whiteout.PseudoLinkDir, itoa(ino)+".999999"), nil, 0o644))
		}
		s.get(t, "child")
		info, err := os.Lstat(filepath.Join(dir, "other"))
		must(t, err)
		if ino := fsutil.StatOf(info).Ino; ino >= numbers {
			t.Errorf("other has the number %d, which none of the pseudo-links has", ino)
		}
		content, err := os.ReadFile(filepath.Join(dir, "sub/g"))
		t.Logf("after a mount without a flush, the other name shows %q, %v", content, err)
		must(t, s.Put("child"))
		if names := readTree(t, branch).Names(); slices.Contains(names, "other") {
			t.Errorf("a file was copied up by mistake: %v", names)
		}
	})
}

func itoa(n int) string { return string(rune('0'+n/10)) + string(rune('0'+n%10)) }

// TestFlushKeepsRights checks that a flush keeps the rights that a file lends to whoever runs it: the setuid bit and capabilities.
func TestFlushKeepsRights(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := linked(t, backend.Aufs)
		base := s.inner.Home.Diff("base")
		capability := []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		must(t, os.Chmod(filepath.Join(base, "f"), 0o755|os.ModeSetuid|os.ModeSetgid))
		must(t, system.Lsetxattr(filepath.Join(base, "f"), "security.capability", capability, 0))
		must(t, os.Chtimes(filepath.Join(base, "f"), time.Unix(1, 5), time.Unix(1, 5)))
		dir := s.get(t, "child")
		must(t, os.Chmod(filepath.Join(dir, "f"), 0o755|os.ModeSetuid|os.ModeSetgid))
		before := readTree(t, dir)
		s.diff(t, "child", "base")
		sameTree(t, readTree(t, dir), before)
		must(t, s.Put("child"))
		sameTree(t, s.see(t, "child"), before)
		for _, path := range []string{"f", "sub/g", "gone"} {
			info, err := os.Lstat(filepath.Join(s.inner.Home.Diff("child"), path))
			if err != nil || info.Mode()&os.ModeSetuid == 0 {
				t.Errorf("%s in the branch: %v, %v", path, info, err)
			}
			value, err := system.Lgetxattr(filepath.Join(s.inner.Home.Diff("child"), path), "security.capability")
			if err != nil || !bytes.Equal(value, capability) {
				t.Errorf("%s in the branch: %q, %v", path, value, err)
			}
		}
	})
}

// TestUnmountFlushes checks that aufsfs.Unmount, which is for callers without a driver, flushes.
func TestUnmountFlushes(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := linked(t, backend.Aufs)
		dir := s.get(t, "child")
		writeThrough(t, filepath.Join(dir, "f"), "new")
		must(t, aufsfs.Unmount(dir))
		content, err := os.ReadFile(filepath.Join(s.inner.Home.Diff("child"), "sub/g"))
		if err != nil || string(content) != "new" {
			t.Errorf("sub/g in the branch: %q, %v", content, err)
		}
		must(t, aufsfs.Unmount(dir))
	})
}

// TestFlushKeepsTimes checks the times of the names that a flush makes, and of the directories that a flush copies up. Nothing has
// happened in these directories, so they must keep their times. The times have fractions of seconds, which aufs cuts off when it sets a
// time.
func TestFlushKeepsTimes(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := newStore(t, backend.Aufs)
		s.create(t, "", "base", "middle")
		base := s.inner.Home.Diff("base")
		write(t, base, files{"f": "old", "one/two/three/": "", "one/beside/": "", "has/": ""})
		names := []string{"one/two/three/g", "one/beside/h", "has/i"}
		for _, name := range names {
			must(t, os.Link(filepath.Join(base, "f"), filepath.Join(base, name)))
		}
		// The time of the uppermost directory counts.
		write(t, s.inner.Home.Diff("middle"), files{"one/two/": ""})
		dirs := []string{"one", "one/two", "one/two/three", "one/beside", "has"}
		for n, dir := range dirs {
			for m, layer := range []string{"base", "middle"} {
				path, then := filepath.Join(s.inner.Home.Diff(layer), dir), time.Unix(int64(1000*n+m), 5)
				if err := os.Chtimes(path, then, then); !errors.Is(err, fs.ErrNotExist) {
					must(t, err)
				}
			}
		}
		s.create(t, "middle", "child")
		dir := s.get(t, "child")
		times := func(root string) []int64 {
			var all []int64
			for _, path := range slices.Concat(dirs, names) {
				info, err := os.Lstat(filepath.Join(root, path))
				must(t, err)
				all = append(all, info.ModTime().UnixNano())
			}
			return all
		}
		// This write copies up has/, so that the layer has this directory and its parents before the flush.
		write(t, dir, files{"has/new": ""})
		writeThrough(t, filepath.Join(dir, "f"), "new")
		before := times(dir)
		s.diff(t, "child", "middle")
		if got := times(dir); !slices.Equal(got, before) {
			t.Errorf("after a Diff %v and %v have the times\n %v, and had\n %v", dirs, names, got, before)
		}
		must(t, s.Put("child"))
		if got := times(s.inner.Home.Diff("child")); !slices.Equal(got, before) {
			t.Errorf("in the branch %v and %v have the times\n %v, and the mount had\n %v", dirs, names, got, before)
		}
		s.get(t, "child")
		if got := times(dir); !slices.Equal(got, before) {
			t.Errorf("mounted again, %v and %v have the times\n %v, and had\n %v", dirs, names, got, before)
		}
		for _, name := range names {
			content, err := os.ReadFile(filepath.Join(s.inner.Home.Diff("child"), name))
			if err != nil || string(content) != "new" {
				t.Errorf("%s in the branch: %q, %v", name, content, err)
			}
		}
		must(t, s.Put("child"))
	})
}

// TestFlushDeepTree has a container make directories that are deeper than any path can name. They must not keep the layer from being
// flushed or unmounted.
func TestFlushDeepTree(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := linked(t, backend.Aufs)
		dir := s.get(t, "child")
		deepDir(t, dir)
		writeThrough(t, filepath.Join(dir, "f"), "new")
		must(t, s.Put("child"))
		content, err := os.ReadFile(filepath.Join(s.inner.Home.Diff("child"), "sub/g"))
		if err != nil || string(content) != "new" {
			t.Errorf("sub/g in the branch: %q, %v", content, err)
		}
	})
}

func TestReadPseudoLinks(t *testing.T) {
	dir := t.TempDir()
	links, err := aufsfs.ReadPseudoLinks(dir)
	if err != nil || len(links) != 0 {
		t.Errorf("without the directory: %v, %v", links, err)
	}
	write(t, dir, files{whiteout.PseudoLinkDir + "/11.131083": "", whiteout.PseudoLinkDir + "/7.12": ""})
	links, err = aufsfs.ReadPseudoLinks(dir)
	must(t, err)
	if len(links) != 2 || links[11][0].BranchInode != 131083 || links[7][0].Name != "7.12" {
		t.Errorf("got %v", links)
	}
	write(t, dir, files{whiteout.PseudoLinkDir + "/junk": "", whiteout.PseudoLinkDir + "/1.x": ""})
	links, err = aufsfs.ReadPseudoLinks(dir)
	if err != nil || len(links) != 2 {
		t.Errorf("with names that are none: %v, %v", links, err)
	}
}
