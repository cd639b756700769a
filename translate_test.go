//go:build linux

package aufs

import (
	"bytes"
	"errors"
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
	for want, f := range map[bool]files{true: {"a/b/.wh.c": ""}, false: {"a/b/c": "", "a/.w": "", "wh.x": ""}} {
		dir := filepath.Join(t.TempDir(), ".wh.odd")
		write(t, dir, f)
		if got, err := findMarks(dir, aufsForm); err != nil || (got != nil) != want {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
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
	must(t, toOverlayForm(root, marked, f, aside))
}
