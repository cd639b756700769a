//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// withUmask runs test with a umask that takes everything from others, and with one that takes nothing. The umask is that of the process, so
// nothing else may run meanwhile.
func withUmask(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	for _, mask := range []int{0o077, 0} {
		t.Run(fmt.Sprintf("umask %03o", mask), func(t *testing.T) {
			old := unix.Umask(mask)
			defer unix.Umask(old)
			test(t)
		})
	}
}

// withWays runs test with the options that make ApplyDiff unpack an archive on a thread, and with those that make it unpack in a child.
func withWays(t *testing.T, test func(t *testing.T, options driver.ApplyOptions)) {
	t.Helper()
	for way, inChild := range map[string]bool{"thread": false, "child": true} {
		t.Run(way, func(t *testing.T) { test(t, driver.ApplyOptions{IgnoreChownErrors: inChild}) })
	}
}

// hasModes fails the test for each of these paths that has another mode.
func hasModes(t *testing.T, dir string, modes map[string]fs.FileMode) {
	t.Helper()
	for path, want := range modes {
		info, err := os.Lstat(filepath.Join(dir, path))
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s has the mode %v, not %v", path, info.Mode(), want)
		}
	}
}

// TestImpliedDirectoriesHaveAMode applies an archive that has files in directories for which it has no entry. Anybody can get to the files,
// whatever the umask of the process is.
func TestImpliedDirectoriesHaveAMode(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		withUmask(t, func(t *testing.T) {
			withWays(t, func(t *testing.T, options driver.ApplyOptions) {
				s := newStore(t, name)
				s.create(t, "", "base", "child", "top")
				s.apply(t, "base", "", entry{Name: "gone", Content: "x"})
				s.create(t, "base", "linked")
				options.Diff = bytes.NewReader(numbered(t, dirOf("d/"), symlinkOf("s", "d"), fileOf("s/x/y/f")))
				_, err := s.ApplyDiff("linked", "base", options)
				must(t, err)
				hasModes(t, s.inner.Home.Diff("linked"), map[string]fs.FileMode{"d/x": fs.ModeDir | 0o755, "d/x/y": fs.ModeDir | 0o755})
				options.Diff = archiveOf(t, entry{Name: "a/b/f", Content: "f"}, entry{Name: "c/"}, entry{Name: "c/d/g"}, entry{Name: ".wh.gone"})
				_, err = s.ApplyDiff("child", "base", options)
				must(t, err)
				modes := map[string]fs.FileMode{
					"a": fs.ModeDir | 0o755, "a/b": fs.ModeDir | 0o755, "a/b/f": 0o644, "c": fs.ModeDir | 0o755, "c/d": fs.ModeDir | 0o755,
				}
				hasModes(t, s.inner.Home.Diff("child"), modes)
				hasModes(t, s.get(t, "top"), modes)
				// The layer top is mounted.
				options.Diff = archiveOf(t, entry{Name: "e/f/g"})
				_, err = s.ApplyDiff("top", "child", options)
				must(t, err)
				hasModes(t, s.inner.Home.Mnt("top"), map[string]fs.FileMode{"e": fs.ModeDir | 0o755, "e/f": fs.ModeDir | 0o755})
				must(t, s.Put("top"))
				for path, h := range s.diff(t, "child", "base") {
					if want, ok := modes[strings.TrimSuffix(path, "/")]; ok && h.FileInfo().Mode() != want {
						t.Errorf("%s has the mode %v in the archive, not %v", path, h.FileInfo().Mode(), want)
					}
				}
			})
		})
	})
}

// TestWhiteoutsHaveAMode has a container delete files, and an archive bring a whiteout with content. All whiteouts have the mode that
// whiteouts have in archives, whatever the umask is.
func TestWhiteoutsHaveAMode(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		withUmask(t, func(t *testing.T) {
			s := newStore(t, name)
			s.create(t, "", "base", "child", "applied")
			s.apply(t, "base", "", entry{Name: "f"}, entry{Name: "g"}, entry{Name: "d/"}, entry{Name: "d/h"}, entry{Name: "e"})
			s.change(t, "child", func(dir string) {
				must(t, os.Remove(filepath.Join(dir, "f")))
				must(t, os.Remove(filepath.Join(dir, "g")))
				must(t, os.RemoveAll(filepath.Join(dir, "d")))
				must(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
			})
			s.apply(t, "applied", "child", entry{Name: ".wh.e", Content: "content"})
			if name == backend.Overlay {
				// Aufs makes its whiteouts itself.
				must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
				hasModes(t, s.inner.Home.Diff("child"), map[string]fs.FileMode{".wh.f": whiteout.Mode, ".wh.g": whiteout.Mode, "d/.wh..wh..opq": whiteout.Mode})
			}
			hasModes(t, s.inner.Home.Diff("applied"), map[string]fs.FileMode{".wh.e": whiteout.Mode})
			headers := s.diff(t, "child", "base")
			for _, path := range []string{".wh.f", ".wh.g", "d/.wh..wh..opq"} {
				if h := headers[path]; h == nil || h.Mode != whiteout.Mode {
					t.Errorf("%s has the header %v", path, h)
				}
			}
		})
	})
}

// TestNothingInheritsFromTheStore has the store, and all that the driver keeps in it, below a directory with a default access control list.
// Neither a container nor an archive gets the list.
func TestNothingInheritsFromTheStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		withUmask(t, func(t *testing.T) {
			withWays(t, func(t *testing.T, options driver.ApplyOptions) {
				above := t.TempDir()
				setACL(t, above, fsutil.ACLDefault, 1000, 7)
				home := filepath.Join(above, "home")
				s := openStore(t, home, name)
				useAll(t, s, "new-", options)
				// A driver that did not prevent this has left the store.
				must(t, s.Cleanup())
				listOnAll(t, s.inner.Home)
				s = openStore(t, home, name)
				useAll(t, s, "old-", options)
			})
		})
	})
}

// listOnAll gives a default access control list to all directories of a store, except those of layers and shadows.
func listOnAll(t *testing.T, h store.Home) {
	t.Helper()
	ids, err := h.List()
	must(t, err)
	isLayer := map[string]bool{}
	for _, id := range ids {
		isLayer[h.Diff(id)] = true
	}
	must(t, filepath.WalkDir(string(h), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if isLayer[path] || filepath.Base(filepath.Dir(filepath.Dir(path))) == store.ShadowDir {
			return fs.SkipDir
		}
		setACL(t, path, fsutil.ACLDefault, 1000, 7)
		return nil
	}))
}

// useAll makes layers with everything that the driver makes for them, and looks for access control lists.
func useAll(t *testing.T, s testStore, prefix string, options driver.ApplyOptions) {
	t.Helper()
	base, marked, child := prefix+"base", prefix+"marked", prefix+"child"
	s.create(t, "", base, marked, child)
	apply := func(id, parent string, entries ...entry) {
		options.Diff = archiveOf(t, entries...)
		_, err := s.ApplyDiff(id, parent, options)
		must(t, err)
	}
	apply(base, "", entry{Name: "d/"}, entry{Name: "d/f"}, entry{Name: "d/e/g"}, entry{Name: "f"}, entry{Name: "h"})
	// A layer with marks has a shadow.
	apply(marked, base, entry{Name: "d/.wh.f"}, entry{Name: "d/e/"}, entry{Name: "d/e/.wh..wh..opq"}, entry{Name: "i/k", Content: "k"}, entry{Name: "l"})
	must(t, s.CleanupStagingDirectory(s.stage(t, filling{})))
	s.change(t, child, func(dir string) {
		noLists(t, dir)
		write(t, dir, files{"made/sub/f": "f", "d/new": "n"})
		must(t, os.Remove(filepath.Join(dir, "f")))
		must(t, os.RemoveAll(filepath.Join(dir, "i")))
		must(t, os.Mkdir(filepath.Join(dir, "i"), 0o755))
		must(t, os.Rename(filepath.Join(dir, "l"), filepath.Join(dir, "m")))
		must(t, os.Chmod(filepath.Join(dir, "h"), 0o640))
		apply(child, marked, entry{Name: "mounted/f"}, entry{Name: "mounted/d/"}, entry{Name: ".wh.h"})
		noLists(t, dir)
		if info, err := os.Lstat(filepath.Join(dir, "mounted")); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%v, %v", info, err)
		}
	})
	noLists(t, s.get(t, child, "ro"))
	must(t, s.Put(child))
	noLists(t, s.get(t, child))
	must(t, s.Put(child))
	for id, parent := range map[string]string{base: "", marked: base, child: marked} {
		noLists(t, s.inner.Home.Diff(id))
		noLists(t, s.inner.Home.Mnt(id))
		for path, h := range s.diff(t, id, parent) {
			noListIn(t, id, path, h)
		}
	}
}

// noLists fails the test for each file under dir that has an access control list.
func noLists(t *testing.T, dir string) {
	t.Helper()
	for path, node := range readTree(t, dir) {
		if strings.Contains(node, fsutil.ACLPrefix) {
			t.Errorf("%s in %s is %s", path, dir, node)
		}
	}
}

// noListIn fails the test if a header has an access control list.
func noListIn(t *testing.T, id, path string, h *tar.Header) {
	t.Helper()
	for key := range h.PAXRecords {
		if strings.Contains(key, fsutil.ACLPrefix) {
			t.Errorf("%s has %s in the archive of %s", path, key, id)
		}
	}
}
