//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// getFile reads the whole file name through a getter of the layer id.
func (s testStore) getFile(t *testing.T, id, name string) (string, error) {
	t.Helper()
	getter, err := s.inner.DiffGetter(id)
	must(t, err)
	defer getter.Close()
	r, err := getter.Get(name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	return string(content), err
}

// getsFile fails the test unless the getter of the layer id has the file name with this content.
func (s testStore) getsFile(t *testing.T, id, name, want string) {
	t.Helper()
	if content, err := s.getFile(t, id, name); err != nil || content != want {
		t.Errorf("%s of %s: %q, %v", name, id, content, err)
	}
}

// getsNo fails the test unless the getter of the layer id returns the error target for the file name.
func (s testStore) getsNo(t *testing.T, id, name string, target error) {
	t.Helper()
	_, err := s.getFile(t, id, name)
	wants(t, err, target, id, name)
}

func TestDiffGetter(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"d/f": "content"})
		must(t, os.Symlink("/etc/passwd", filepath.Join(s.inner.Home.Diff("base"), "out")))
		for _, path := range []string{"d/f", "./d/f", "/d/f"} {
			s.getsFile(t, "base", path, "content")
		}
		for _, path := range []string{"out", "../../layers/base", "nothing", "d", "."} {
			s.getsNo(t, "base", path, nil)
		}
	})
}

// TestDiffGetterLinks gets names that lead through symbolic links, as some archives have them.
func TestDiffGetterLinks(t *testing.T) { withOpenat2AndWithout(t, testDiffGetterLinks) }

func testDiffGetterLinks(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, files{"secret": "secret"})
	s := newStore(t, backend.Overlay)
	s.create(t, "", "base")
	dir := s.inner.Home.Diff("base")
	write(t, dir, files{"usr/lib/x": "x", "usr/lib/sub/y": "y", "top": "top"})
	for link, target := range map[string]string{
		"lib": "/usr/lib", "lib64": "usr/lib", "usr/up": "../lib", "usr/lib/out": "../../../../../..", "loop": "loop", "out": outside,
		"chain": "lib64/sub", "usr/lib/sub/root": "/",
	} {
		must(t, os.Symlink(target, filepath.Join(dir, link)))
	}
	for name, want := range map[string]string{
		"lib/x": "x", "lib64/x": "x", "usr/up/x": "x", "usr/lib/out/top": "top", "usr/lib/out/usr/lib/x": "x", "chain/y": "y", "chain/root/top": "top",
		"./lib/sub/y": "y", "/lib/out/lib/x": "x",
	} {
		s.getsFile(t, "base", name, want)
	}
	s.getsNo(t, "base", "lib", fsutil.ErrNotRegular)
	s.getsNo(t, "base", "loop", fsutil.ErrNotRegular)
	s.getsNo(t, "base", "loop/x", unix.ELOOP)
	s.getsNo(t, "base", "out/secret", fs.ErrNotExist)
	s.getsNo(t, "base", "top/x", nil)
}

// TestDiffGetterOpensRegularFiles checks that a getter opens only regular files: to open a pipe can wait for ever, and to open a device
// can have effects.
func TestDiffGetterOpensRegularFiles(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		_, err := s.ApplyDiff("base", "", driver.ApplyOptions{Diff: bytes.NewReader(packed(t,
			member{Name: "d/f", Size: 3, Typeflag: tar.TypeReg},
			member{Name: "s", Linkname: "d", Typeflag: tar.TypeSymlink},
			member{Name: "s/f", Typeflag: tar.TypeFifo},
			member{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		))})
		must(t, err)
		for _, file := range []string{"s/f", "null", "d"} {
			s.getsNo(t, "base", file, fsutil.ErrNotRegular)
		}
		// The driver has kept the content that d/f has in the archive, and the getter returns that. Without it, the getter finds the
		// pipe.
		s.getsFile(t, "base", "d/f", "xxx")
		must(t, os.RemoveAll(s.inner.Home.Kept("base")))
		s.getsNo(t, "base", "d/f", fsutil.ErrNotRegular)
	})
}

// TestNoPipeIsWaitedFor puts pipes in the place of the store's own files.
func TestNoPipeIsWaitedFor(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, file := range []string{"layers/child", "overlay/mark/child", "overlay/lock/child", "overlay/form/child", "overlay/form/base"} {
			t.Run(file, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "child")
				path := filepath.Join(string(s.inner.Home), file)
				must(t, os.MkdirAll(filepath.Dir(path), 0o700))
				if err := os.Remove(path); fsutil.IgnoreGone(err) != nil {
					t.Fatal(err)
				}
				must(t, unix.Mkfifo(path, 0o600))
				if _, err := s.Get("child", driver.GetOptions{}); err == nil {
					// Get does not read each of these files.
					must(t, s.Put("child"))
				} else {
					wants(t, err, nil, "child")
				}
				_, err := fsutil.ReadFile(path)
				wants(t, err, fsutil.ErrNotRegular, path)
				if file == "layers/child" {
					_, err := s.inner.Home.Parents("child")
					wants(t, err, fsutil.ErrNotRegular, path)
				}
				if other, err := reopen(string(s.inner.Home), name); err == nil {
					must(t, other.Cleanup())
				}
				must(t, os.Remove(path))
				if file == "layers/child" {
					must(t, os.WriteFile(path, []byte("base\n"), 0o600))
				}
			})
		}
	})
}

// TestDiffGetterOfTemplate uses a layer that was made from a template, and whose files are in the template.
func TestDiffGetterOfTemplate(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "template")
		s.apply(t, "base", "", entry{Name: "low", Content: "low"}, entry{Name: "d/f", Content: "base"}, entry{Name: "d/low", Content: "low"})
		s.apply(t, "template", "base", entry{Name: "d/"}, entry{Name: "d/f", Content: "f"}, entry{Name: "e/f", Content: "ef"}, entry{Name: "e/.wh..wh..opq"},
			entry{Name: "g/f", Content: "gf"}, entry{Name: ".wh.low"}, entry{Name: "own", Content: "template"}, entry{Name: "i/j/k", Content: "k"})
		must(t, s.CreateFromTemplate("child", "template", nil, false))
		for file, want := range map[string]string{"d/f": "f", "e/f": "ef", "g/f": "gf", "own": "template", "d/low": "low", "i/j/k": "k"} {
			s.getsFile(t, "child", file, want)
		}
		s.getsNo(t, "child", "low", fs.ErrNotExist)
		s.getsNo(t, "child", "d/f/x", nil)
		check := func() {
			t.Helper()
			s.getsFile(t, "child", "own", "child")
			s.getsFile(t, "child", "d/low", "low")
			s.getsFile(t, "child", "e/f", "ef")
			for _, file := range []string{"d/f", "g/f", "i/j/k", "low"} {
				s.getsNo(t, "child", file, nil)
			}
		}
		dir := s.get(t, "child")
		must(t, os.Remove(filepath.Join(dir, "d/f")))
		must(t, os.RemoveAll(filepath.Join(dir, "g")))
		must(t, os.RemoveAll(filepath.Join(dir, "i")))
		write(t, dir, files{"own": "child", "i/new": "new", "g": "file"})
		check()
		must(t, s.Put("child"))
		check()
	})
}
