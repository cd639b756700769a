//go:build linux

package aufs

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// aufsLayer is a layer with marks of all kinds. The names outside are what a mount of it over nothing shows.
var aufsLayer = files{
	"kept": "k", "dir/kept": "k", ".wh.gone": "", "dir/.wh.gone": "", "opaque/.wh..wh..opq": "", "opaque/f": "f", "opaque/sub/.wh.x": "",
	".wh..wh.aufs": "", ".wh..wh.orph/": "", ".wh..wh.plnk/11.12": "p",
}

func makeLayer(t *testing.T, dir string) {
	t.Helper()
	write(t, dir, aufsLayer)
	stamp := time.Unix(1600000000, 123456789)
	for _, sub := range []string{"opaque/sub", "opaque", "dir", "."} {
		must(t, os.Chtimes(filepath.Join(dir, sub), stamp, stamp))
	}
}

// times are those of the directories in a tree.
func times(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	all := map[string]time.Time{}
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && entry.IsDir() && !strings.Contains(path, ".wh..wh.") {
			all[path] = info.ModTime()
		}
		return err
	}))
	return all
}

func testForm(t *testing.T) form {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("character devices 0/0 and trusted attributes take root")
	}
	return overlayTrusted
}

func TestTranslateThereAndBack(t *testing.T) {
	f := testForm(t)
	root, aside := filepath.Join(t.TempDir(), "layer"), filepath.Join(t.TempDir(), "aside")
	makeLayer(t, root)
	before, timesBefore := readTree(t, root).names(), times(t, root)
	for range 2 {
		// Twice: what is done is not done again.
		translateAll(t, root, f, aside)
		sameNames(t, readTree(t, root).names(), "kept", "dir", "dir/kept", "gone", "dir/gone", "opaque", "opaque/f", "opaque/sub", "opaque/sub/x")
		for _, path := range []string{"gone", "dir/gone", "opaque/sub/x"} {
			info, err := os.Lstat(filepath.Join(root, path))
			if err != nil || !isOverlayWhiteout(info) {
				t.Errorf("%s is no whiteout: %v, %v", path, info, err)
			}
		}
		if opaque, err := hasOpaqueXattr(filepath.Join(root, "opaque"), f); err != nil || !opaque {
			t.Errorf("opaque: %v, %v", opaque, err)
		}
	}
	for path, want := range timesBefore {
		if got := times(t, root)[path]; !got.Equal(want) {
			t.Errorf("%s was changed at %v", path, got)
		}
	}
	// What overlayfs writes, and what an overlayfs inside of the container has written through it.
	for name, value := range map[string]string{"origin": "x", "impure": "y", "overlay.opaque": "y"} {
		must(t, system.Lsetxattr(filepath.Join(root, "dir"), f.xattrPrefix()+name, []byte(value), 0))
	}
	for range 2 {
		must(t, toAufsForm(root, f, aside))
		sameNames(t, readTree(t, root).names(), before...)
	}
	for path, want := range timesBefore {
		if got := times(t, root)[path]; !got.Equal(want) {
			t.Errorf("%s was changed at %v", path, got)
		}
	}
	names, err := system.Llistxattr(filepath.Join(root, "dir"))
	must(t, err)
	sameNames(t, names, f.xattrPrefix()+"overlay.opaque")
	if _, err := os.Lstat(aside); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("aside: %v", err)
	}
}

// TestTranslateCutShort begins with each mixture that a crash can leave: some entries in one form, some in the other.
func TestTranslateCutShort(t *testing.T) {
	f := testForm(t)
	for name, mix := range map[string]func(t *testing.T, root string){
		"both forms of one whiteout": func(t *testing.T, root string) {
			must(t, unix.Mknod(filepath.Join(root, "gone"), unix.S_IFCHR, 0))
		},
		"both forms of opaque": func(t *testing.T, root string) {
			must(t, system.Lsetxattr(filepath.Join(root, "opaque"), f.xattrPrefix()+"opaque", []byte("y"), 0))
		},
		"one done and one not": func(t *testing.T, root string) {
			must(t, os.Remove(filepath.Join(root, ".wh.gone")))
			must(t, unix.Mknod(filepath.Join(root, "gone"), unix.S_IFCHR, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := filepath.Join(t.TempDir(), "want")
			makeLayer(t, want)
			for _, way := range []string{"there", "back"} {
				root, aside := filepath.Join(t.TempDir(), "layer"), filepath.Join(t.TempDir(), "aside")
				makeLayer(t, root)
				mix(t, root)
				if way == "there" {
					translateAll(t, root, f, aside)
				}
				must(t, toAufsForm(root, f, aside))
				sameNames(t, readTree(t, root).names(), readTree(t, want).names()...)
			}
		})
	}
}

// TestTranslateLeavesDataAlone is about files with the names of whiteouts that are none.
func TestTranslateLeavesDataAlone(t *testing.T) {
	f := testForm(t)
	root, aside := filepath.Join(t.TempDir(), "layer"), filepath.Join(t.TempDir(), "aside")
	write(t, root, files{".wh.full": "precious", ".wh.dir/f": "f", "both": "b", ".wh.both": "", ".wh.": "x"})
	before := readTree(t, root)
	translateAll(t, root, f, aside)
	must(t, toAufsForm(root, f, aside))
	sameTree(t, readTree(t, root), before)
}

func TestDeviceZeroIsRefused(t *testing.T) {
	f := testForm(t)
	root := t.TempDir()
	write(t, root, files{"d/f": "f"})
	must(t, unix.Mknod(filepath.Join(root, "d/zero"), unix.S_IFCHR, 0))
	_, err := findMarks(root, aufsForm)
	wants(t, err, nil, "d/zero", "0/0", "aufs only")
	wants(t, makeTwin(root, aufsForm, filepath.Join(t.TempDir(), "twin"), f), nil, "d/zero")
}

func TestFindMarks(t *testing.T) {
	for _, c := range []struct {
		files files
		want  []string
	}{
		{files{"a/b/c": "", "a/.w": "", "wh.x": ""}, nil},
		{files{"a/b/.wh.c": "", "a/d/e": "", "f/g": ""}, []string{"a/b"}},
		{files{"a/b/.wh.c": "", "a/.wh..wh..opq": "", "x/y/.wh.z": ""}, []string{"a", "a/b", "x/y"}},
		{files{".wh..wh.plnk/1.2": "", ".wh..wh.orph/d/.wh.x": "", "a/.wh.b": ""}, []string{".", "a"}},
	} {
		dir := filepath.Join(t.TempDir(), ".wh.odd")
		write(t, dir, c.files)
		found, err := findMarks(dir, aufsForm)
		must(t, err)
		if (found != nil) != (c.want != nil) {
			t.Errorf("%v: %v", c.files, found)
		}
		var visited []string
		must(t, found.each(dir, func(visit openedDir, atRoot bool, entries []fs.DirEntry) (bool, error) {
			rel, err := filepath.Rel(dir, visit.path)
			if atRoot != (rel == ".") || len(entries) == 0 {
				t.Errorf("%s: %t, %v", rel, atRoot, entries)
			}
			visited = append(visited, rel)
			return false, err
		}))
		sameNames(t, visited, c.want...)
	}
}

// TestWhiteoutMaker is about links, and about file systems that do not make any.
func TestWhiteoutMaker(t *testing.T) {
	dir, err := openReal(t.TempDir())
	must(t, err)
	defer dir.close()
	w := whiteoutMaker{dir: dir, anew: makeAufsWhiteout}
	inodes := func(names ...string) (n int) {
		seen := map[uint64]bool{}
		for _, name := range names {
			info, err := w.dir.lstat(name)
			must(t, err)
			if seen[statOf(info).Ino] = true; !info.Mode().IsRegular() || info.Size() > 0 {
				t.Errorf("%s is no whiteout: %v", name, info.Mode())
			}
		}
		return len(seen)
	}
	must(t, errors.Join(w.make(".wh.a"), w.make(".wh.b"), w.make(".wh.c")))
	if n := inodes(".wh.a", ".wh.b", ".wh.c"); n != 1 {
		t.Errorf("there are %d files, which are to be one", n)
	}
	if err := w.make(".wh.b"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("one that is there: %v", err)
	}
	// As if there were too many links.
	w.first += "-gone"
	must(t, errors.Join(w.make(".wh.d"), w.make(".wh.e")))
	if n := inodes(".wh.a", ".wh.d", ".wh.e"); n != 2 {
		t.Errorf("there are %d files, which are to be two", n)
	}
}

// TestWhiteoutsAreNoFilesOfOthers has a container make a file that the driver takes for a whiteout, and that has another name: no
// whiteout may become a link to it.
func TestWhiteoutsAreNoFilesOfOthers(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backendOverlay)
		s.create(t, "", "base")
		var base []entry
		for i := range 30 {
			base = append(base, entry{name: fmt.Sprintf("gone%02d", i), content: "g"})
		}
		s.apply(t, "base", "", base...)
		s.create(t, "base", "top")
		s.change(t, "top", func(dir string) {
			write(t, dir, files{"data": ""})
			must(t, os.Link(filepath.Join(dir, "data"), filepath.Join(dir, ".wh.gone07")))
			for _, e := range base {
				must(t, os.Remove(filepath.Join(dir, e.name)))
			}
		})
		info, err := os.Lstat(filepath.Join(s.inner.home.diff("top"), "data"))
		must(t, err)
		if n := statOf(info).Nlink; n != 2 {
			t.Errorf("the file has %d names, which are to be two", n)
		}
		// As a container on aufs would.
		must(t, os.WriteFile(filepath.Join(s.inner.home.diff("top"), "data"), []byte("x"), 0o600))
		s.change(t, "top", func(dir string) {
			for _, e := range base {
				// The one that the container has made a file for is its own affair.
				if _, err := os.Lstat(filepath.Join(dir, e.name)); err == nil && e.name != "gone07" {
					t.Errorf("%s is back", e.name)
				}
			}
		})
	})
}

// TestCacheOfLinks has symbolic links where the driver keeps what it has found out: nothing is written to where they lead.
func TestCacheOfLinks(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		for what, link := range map[string]string{"directory": "base", "stamp": "base/" + derivedStamp, "record": "base/" + stackRecord} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, backendOverlay)
				s.create(t, "", "base")
				s.apply(t, "base", "", entry{name: "a", content: "a"})
				s.create(t, "base", "top")
				outside := filepath.Join(t.TempDir(), "outside")
				write(t, outside, files{"precious": "precious"})
				path := filepath.Join(s.inner.home.overlay(twinDir), link)
				must(t, os.MkdirAll(filepath.Dir(path), 0o700))
				target := outside
				if what != "directory" {
					target += "/precious"
				}
				must(t, os.Symlink(target, path))
				sameNames(t, s.see(t, "top").names(), "a")
				sameNames(t, readTree(t, outside).names(), "precious")
				if content, err := os.ReadFile(outside + "/precious"); err != nil || string(content) != "precious" {
					t.Errorf("outside there is %q, %v", content, err)
				}
			})
		}
	})
}

func TestTwin(t *testing.T) {
	f := testForm(t)
	root, twin := filepath.Join(t.TempDir(), "layer"), ""
	twin = filepath.Join(filepath.Dir(root), "a", "twin")
	makeLayer(t, root)
	must(t, os.Symlink("kept", filepath.Join(root, "symlink")))
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	must(t, os.Chmod(filepath.Join(root, "dir"), 0o711|fs.ModeSticky))
	must(t, os.Lchown(filepath.Join(root, "dir"), 3, 4))
	must(t, system.Lsetxattr(filepath.Join(root, "dir"), "trusted.test", []byte("v"), 0))
	before := readTree(t, root)
	must(t, makeTwin(root, aufsForm, twin, f))
	sameTree(t, readTree(t, root), before)
	sameNames(t, readTree(t, twin).names(), "kept", "dir", "dir/kept", "gone", "dir/gone", "opaque", "opaque/f", "opaque/sub", "opaque/sub/x", "symlink", "fifo")
	for _, path := range []string{"kept", "symlink", "fifo", "dir/kept"} {
		a, aerr := os.Lstat(filepath.Join(root, path))
		b, berr := os.Lstat(filepath.Join(twin, path))
		if err := errors.Join(aerr, berr); err != nil || !os.SameFile(a, b) {
			t.Errorf("%s is a copy: %v", path, err)
		}
	}
	for _, path := range []string{".", "dir", "opaque"} {
		got := strings.ReplaceAll(readTree(t, twin)[path], ` trusted.overlay.opaque="y"`, "")
		if marked := strings.Contains(got, ` trusted.overlay.origin=""`); marked != (path != "opaque") {
			t.Errorf("%s has whiteouts, or not, and is marked so: %t", path, marked)
		}
		got = strings.ReplaceAll(got, ` trusted.overlay.origin=""`, "")
		if got != before[path] {
			t.Errorf("%s is %s, not %s", path, got, before[path])
		}
	}
	a, b := times(t, root), times(t, twin)
	for path, want := range a {
		rel, err := filepath.Rel(root, path)
		must(t, err)
		if got := b[filepath.Join(twin, rel)]; !got.Equal(want) {
			t.Errorf("%s was changed at %v, its twin at %v", rel, want, got)
		}
	}
	if opaque, err := hasOpaqueXattr(filepath.Join(twin, "opaque"), f); err != nil || !opaque {
		t.Errorf("opaque: %v, %v", opaque, err)
	}
}

func TestReadListing(t *testing.T) {
	f := testForm(t)
	root := t.TempDir()
	makeLayer(t, root)
	for _, form := range []form{aufsForm, f} {
		if form == f {
			translateAll(t, root, f, filepath.Join(t.TempDir(), "aside"))
		}
		l, err := readListing(root, ".", form)
		must(t, err)
		if len(l.entries) != 3 || l.entries["kept"] == nil || !l.whiteouts["gone"] || len(l.whiteouts) != 1 || l.opaque {
			t.Errorf("%s: the root is %+v", form, l)
		}
		l, err = readListing(root, "opaque", form)
		must(t, err)
		if len(l.entries) != 2 || len(l.whiteouts) != 0 || !l.opaque {
			t.Errorf("%s: opaque is %+v", form, l)
		}
	}
}

func TestEscapes(t *testing.T) {
	if got := escapeOption(`/a,b\c`); got != `/a\,b\\c` {
		t.Errorf("got %s", got)
	}
	file := filepath.Join(t.TempDir(), "mountinfo")
	line := func(upper string) []byte {
		return []byte("100 22 0:45 / /mnt rw,relatime shared:1 - overlay none rw,lowerdir=/l,upperdir=" + upper + ",workdir=/w,index=off\n")
	}
	for shown, real := range map[string]string{"/s/diff/a": "/s/diff/a", `/a\040b\134c/d`: `/a b\c/d`} {
		must(t, os.WriteFile(file, bytes.Join([][]byte{line("/other"), line(shown)}, nil), 0o600))
		if used, err := inMountinfo(file, "overlay", "upperdir="+escapeMountinfo(real)); err != nil || !used {
			t.Errorf("%s: %v, %v", real, used, err)
		}
		if used, err := inMountinfo(file, "overlay", "upperdir="+escapeMountinfo(real+"x")); err != nil || used {
			t.Errorf("%sx: %v, %v", real, used, err)
		}
	}
}

// translateAll brings a layer into overlay form.
func translateAll(t *testing.T, root string, f form, aside string) {
	t.Helper()
	marked, err := findMarks(root, f)
	must(t, err)
	must(t, toOverlayForm(root, marked, f, aside, ""))
}

// TestSharedWhiteout is about whiteouts that are links to one outside of the directory, and about a directory that takes no such links.
func TestSharedWhiteout(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	opened, err := openReal(dir)
	must(t, err)
	defer opened.close()
	shared := filepath.Join(dir, "shared")
	inode := func(name string) uint64 {
		info, err := os.Lstat(filepath.Join(dir, name))
		must(t, err)
		if !isOverlayWhiteout(info) {
			t.Errorf("%s is no whiteout: %v", name, info.Mode())
		}
		return statOf(info).Ino
	}
	for _, name := range []string{"a", "b"} {
		w := whiteoutMaker{dir: opened, anew: makeOverlayWhiteout, shared: shared}
		must(t, w.make(name))
		if err := w.make(name); !errors.Is(err, unix.EEXIST) || w.shared == "" {
			t.Errorf("one that is there: %v, %q", err, w.shared)
		}
	}
	if inode("a") != inode("shared") || inode("b") != inode("shared") {
		t.Error("they are not one file")
	}
	// The links from one file system to another fail as those of a file with too many do; somewhere else none can be made; and a copy of
	// a store may have made something else of it.
	elsewhere := filepath.Join("/dev", "aufs-test-"+rand.Text())
	must(t, makeOverlayWhiteout(anywhere, elsewhere))
	defer os.Remove(elsewhere)
	must(t, os.WriteFile(filepath.Join(dir, "copied"), nil, 0o600))
	for name, shared := range map[string]string{
		"c": elsewhere, "e": filepath.Join(dir, "none", "shared"), "g": filepath.Join(dir, "copied"),
	} {
		w := whiteoutMaker{dir: opened, anew: makeOverlayWhiteout, shared: shared}
		must(t, errors.Join(w.make(name), w.make(name+"2")))
		if inode(name) == inode("shared") || inode(name) != inode(name+"2") {
			t.Errorf("%s: they are not one file of their own", shared)
		}
	}
}
