//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// imageLayer is one layer of an image, with the entries of its archive.
type imageLayer struct {
	id      string
	entries []entry
}

// markedImage is an image each of whose layers has a deletion and an opaque directory.
var markedImage = []imageLayer{
	{"base", []entry{
		{Name: "bin/"},
		{Name: "bin/sh", Content: "sh"},
		{Name: "bin/bash", Link: "bin/sh"},
		{Name: "etc/"},
		{Name: "etc/conf", Content: "conf"},
		{Name: "etc/old", Content: "old"},
		{Name: "var/"},
		{Name: "var/a", Content: "a"},
		{Name: "gone", Content: "gone"},
		{Name: "top", Content: "top"},
		{Name: ".wh.never"},
		{Name: "opt/"},
		{Name: "opt/.wh..wh..opq"},
		{Name: "opt/tool", Content: "tool"},
	}},
	{"middle", []entry{
		{Name: ".wh.gone"},
		{Name: "etc/"},
		{Name: "etc/.wh.old"},
		{Name: "etc/new", Content: "new"},
		{Name: "var/"},
		{Name: "var/.wh..wh..opq"},
		{Name: "var/c", Content: "c"},
		{Name: "var/d", Link: "var/c"},
		{Name: "usr/"},
		{Name: "usr/one", Content: "one"},
	}},
	{"upper", []entry{
		{Name: "etc/"},
		{Name: "etc/.wh.new"},
		{Name: "usr/"},
		{Name: "usr/.wh..wh..opq"},
		{Name: "usr/two", Content: "two"},
		{Name: "usr/lib/"},
		{Name: "usr/lib/deep/"},
		{Name: "usr/lib/deep/f", Content: "f"},
		{Name: "usr/lib/deep/g", Link: "usr/lib/deep/f"},
		{Name: "usr/lib/h", Link: "usr/lib/deep/f"},
	}},
}

// markedFiles are the files that the image shows, with the number of names that each has in its archive.
var markedFiles = map[string]uint64{
	"bin/sh": 2, "bin/bash": 2, "etc/conf": 1, "top": 1, "opt/tool": 1, "var/c": 2, "var/d": 2,
	"usr/two": 1, "usr/lib/deep/f": 3, "usr/lib/deep/g": 3, "usr/lib/h": 3,
}

// makeImage unpacks the layers of markedImage, and makes the layer child on top of them.
func makeImage(t *testing.T, s testStore) {
	t.Helper()
	parent := ""
	for _, layer := range markedImage {
		s.create(t, parent, layer.id)
		s.apply(t, layer.id, parent, layer.entries...)
		parent = layer.id
	}
	s.create(t, parent, "child")
}

// imageIDs returns the ids of the layers of markedImage.
func imageIDs() []string {
	var ids []string
	for _, layer := range markedImage {
		ids = append(ids, layer.id)
	}
	return ids
}

// statsUnder returns the stat(2) of dir and of everything below it, by path.
func statsUnder(t *testing.T, dir string) map[string]unix.Stat_t {
	t.Helper()
	stats := map[string]unix.Stat_t{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: path, Err: err}
		}
		stats[rel] = st
		return nil
	}))
	return stats
}

func isDirectory(st unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFDIR }

// TestFilesOfAnImageHaveTheirOwnLinkCount shows that the link count of a file in a container is the number of its names in the archive.
// Programs that look for hard links, as tar and rsync do, go by it.
func TestFilesOfAnImageHaveTheirOwnLinkCount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		makeImage(t, s)
		for _, options := range [][]string{nil, {"ro"}, nil} {
			dir := s.get(t, "child", options...)
			shown := map[string]uint64{}
			for path, st := range statsUnder(t, dir) {
				if !isDirectory(st) {
					shown[path] = uint64(st.Nlink) //nolint:unconvert // its type depends on the architecture
				}
			}
			for path, want := range markedFiles {
				if shown[path] != want {
					t.Errorf("mounted with %q, %s has %d links instead of %d", options, path, shown[path], want)
				}
				delete(shown, path)
			}
			for path := range shown {
				t.Errorf("mounted with %q, %s is shown, which the image does not have", options, path)
			}
			must(t, s.Put("child"))
		}
	})
}

// TestInodeNumbersStayWhenFilesAreWritten shows that a file of the image has the same inode number before and after the first write, and on
// overlay in the next mount as well. Programs that keep a file open and check whether it was replaced, as tail and databases do, go by it.
// Aufs gives out new numbers in each mount.
//
// The test leaves out files with several names, because overlayfs makes a separate file of each name that is written to.
func TestInodeNumbersStayWhenFilesAreWritten(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		makeImage(t, s)
		dir := s.get(t, "child")
		before := statsUnder(t, dir)
		same := func(when string) {
			t.Helper()
			after := statsUnder(t, dir)
			for path, st := range before {
				if (isDirectory(st) || markedFiles[path] == 1) && after[path].Ino != st.Ino {
					t.Errorf("%s, the inode number of %s is %d, and was %d before", when, path, after[path].Ino, st.Ino)
				}
			}
		}
		same("at the second look")
		for path, st := range before {
			if isDirectory(st) {
				write(t, filepath.Join(dir, path), files{"made": "made"})
				continue
			}
			must(t, appendTo(filepath.Join(dir, path), "more"))
		}
		same("after the first write")
		must(t, s.Put("child"))
		if name != backend.Overlay {
			return
		}
		dir = s.get(t, "child")
		same("in the next mount")
		must(t, s.Put("child"))
	})
}

// namesOfOneFile is near the maximum of ext4, which is 65,000. Xfs and btrfs allow more.
const namesOfOneFile = 64_000

// namesPossible returns how many names, up to namesOfOneFile, a file can have on the tests' file system.
func namesPossible(t *testing.T) int {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files{"0": ""})
	for n := 1; n < namesOfOneFile; n++ {
		err := os.Link(filepath.Join(dir, "0"), filepath.Join(dir, fmt.Sprint(n)))
		if errors.Is(err, unix.EMLINK) {
			return n
		}
		must(t, err)
	}
	return namesOfOneFile
}

// TestImageFileWithManyNames mounts an image with a file that has nearly as many names in its layer as a file can have.
func TestImageFileWithManyNames(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "many", "child")
		s.apply(t, "base", "", entry{Name: "gone", Content: "gone"}, entry{Name: "d/"}, entry{Name: "d/hidden", Content: "hidden"})
		// Aufs takes minutes to list all of the names in one directory.
		const perDir = 1000
		path := func(n int) string { return fmt.Sprintf("names/%d/%d", n/perDir, n%perDir) }
		first := entry{Name: path(0), Content: "content"}
		entries := []entry{{Name: ".wh.gone"}, {Name: "d/"}, {Name: "d/.wh..wh..opq"}, {Name: "names/"}, first}
		for n := 1; n < namesOfOneFile; n++ {
			entries = append(entries, entry{Name: path(n), Link: first.Name})
		}
		_, err := s.ApplyDiff("many", "base", driver.ApplyOptions{Diff: archiveOf(t, entries...)})
		if err != nil {
			if most := namesPossible(t); most < namesOfOneFile {
				t.Skipf("on %s a file can have %d names, and this takes %d", fsName(t.TempDir()), most, namesOfOneFile)
			}
			t.Fatal(err)
		}
		for range 2 {
			dir := s.get(t, "child")
			names := 0
			for n := 0; n < namesOfOneFile; n += perDir {
				entries, err := os.ReadDir(filepath.Dir(filepath.Join(dir, path(n))))
				must(t, err)
				names += len(entries)
			}
			var st unix.Stat_t
			must(t, unix.Lstat(filepath.Join(dir, path(namesOfOneFile-1)), &st))
			if names != namesOfOneFile || st.Nlink != namesOfOneFile || st.Size != int64(len(first.Content)) {
				t.Errorf("it shows %d names of a file with %d links and %d bytes", names, st.Nlink, st.Size)
			}
			write(t, dir, files{"names/own": "own"})
			must(t, os.Remove(filepath.Join(dir, "names/own")))
			must(t, s.Put("child"))
		}
		must(t, s.Remove("child"))
		must(t, s.Remove("many"))
		noLeftovers(t, s)
	})
}

// TestImmutableFileInAContainerStaysSo shows that a flag that chattr(1) sets in a container stays for as long as the container exists.
func TestImmutableFileInAContainerStaysSo(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		makeImage(t, s)
		dir := s.get(t, "child")
		write(t, dir, files{"own": "own"})
		paths := []string{"own", "etc/conf", "usr/two"}
		for _, path := range paths {
			if !setFlags(t, filepath.Join(dir, path), fsutil.ImmutableFlag) {
				return
			}
		}
		t.Cleanup(func() { clearAllFlags(t, s.inner.Home.Diff("child")) }) // after a failure
		for _, when := range []string{"at once", "in the next mount", "in the one after it"} {
			for _, path := range paths {
				if err := appendTo(filepath.Join(dir, path), "more"); !errors.Is(err, unix.EPERM) {
					t.Errorf("%s, a write to %s that was made immutable ends with %v", when, path, err)
				}
			}
			must(t, s.Put("child"))
			dir = s.get(t, "child")
		}
		must(t, s.Put("child"))
		must(t, s.Remove("child"))
		noLeftovers(t, s)
	})
}

// clearAllFlags makes the files below dir mutable again, if dir exists.
func clearAllFlags(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() && !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		if err != nil {
			return nil // It has none.
		}
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^(fsutil.ImmutableFlag|fsutil.AppendOnlyFlag)))
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestImageLayersAreInAufsForm shows that the in-tree driver can read a store that has no layers of containers, whatever was mounted
// before: the layers have no device 0/0, and no attribute of overlayfs.
func TestImageLayersAreInAufsForm(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		makeImage(t, s)
		last := markedImage[len(markedImage)-1]
		s.create(t, "upper", "staged")
		out := s.stage(t, filling{content: archiveBytes(t, markedImage[1].entries...)})
		must(t, s.ApplyStaged("staged", last.id, out, false))
		s.create(t, "staged", "second")
		for _, id := range []string{"child", "second"} {
			s.change(t, id, func(dir string) {
				must(t, os.RemoveAll(filepath.Join(dir, "usr")))
				write(t, dir, files{"usr/lib/new": "new"})
				must(t, os.Remove(filepath.Join(dir, "etc/conf")))
			})
			s.see(t, id, "ro")
			must(t, s.Remove(id))
		}
		found := 0
		for path, node := range readTree(t, s.inner.Home.Diff("")) {
			if strings.Contains(node, ".overlay.") || strings.Contains(node, "device 0") {
				t.Errorf("%s: %s", filepath.Join(store.DiffDir, path), node)
			}
			if strings.HasPrefix(filepath.Base(path), ".wh.") {
				found++
			}
		}
		if found == 0 {
			t.Error("no layer has a whiteout")
		}
	})
}
