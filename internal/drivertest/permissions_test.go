//go:build linux

package drivertest

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// TestStoreIsPrivate checks that others can see nothing of a store, whatever the umask is, even while the driver unpacks an archive.
func TestStoreIsPrivate(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		old := unix.Umask(0)
		defer unix.Umask(old)
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "child")
		whole := archiveBytes(t, entry{Name: "d/"}, entry{Name: "d/f", Content: strings.Repeat("f", 2*layertar.Chunk)})
		looked := false
		_, err := s.ApplyDiff("base", "", driver.ApplyOptions{Diff: &spy{bytes.NewReader(whole), func() {
			looked = true
			private(t, s.inner.Home)
		}}})
		must(t, err)
		if !looked {
			t.Fatal("nobody looked")
		}
		s.apply(t, "middle", "base", entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/g", Content: "g"})
		dir := s.get(t, "child")
		must(t, os.Remove(filepath.Join(dir, "d/g")))
		private(t, s.inner.Home)
		must(t, s.Put("child"))
		private(t, s.inner.Home)
	})
}

// A spy calls look after each read that succeeds.
type spy struct {
	io.Reader
	look func()
}

func (s *spy) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == nil {
		s.look()
	}
	return n, err
}

// private fails the test if anybody but the owner may do anything with a file or directory of the store. It leaves out the directories of
// layers, which nobody else can reach, and the files in layers/, which have the mode that the in-tree driver gives them.
func private(t *testing.T, h store.Home) {
	t.Helper()
	seen := 0
	must(t, filepath.WalkDir(string(h), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fsutil.IgnoreGone(err)
		}
		info, err := entry.Info()
		if err != nil {
			return fsutil.IgnoreGone(err)
		}
		dir := filepath.Dir(path)
		switch {
		case dir == h.Layers(""):
			if info.Mode().Perm() != 0o644 {
				t.Errorf("%s has the mode %v", path, info.Mode())
			}
			return nil
		case dir == h.Diff(""), dir == h.Mnt(""), filepath.Dir(dir) == h.Tmp(), filepath.Base(filepath.Dir(filepath.Dir(path))) == store.ShadowDir, filepath.Base(path) == "upper":
			return fs.SkipDir
		}
		seen++
		if info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		return nil
	}))
	if seen < 5 {
		t.Errorf("only %d files of the store were seen", seen)
	}
}

// TestLinksOutOfTheStore makes a part of a store a symbolic link to elsewhere. The driver must not read, change, remove or mount over
// anything there.
func TestLinksOutOfTheStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, part := range []string{store.LayersDir, store.DiffDir, store.MntDir, store.TmpDir, store.OverlayDir, "overlay/form", "overlay/shadow", "overlay/lock", "overlay/known"} {
			t.Run(part, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "child")
				must(t, s.Cleanup())
				path := filepath.Join(string(s.inner.Home), part)
				outside, before := moveAway(t, path)
				_, err := reopen(string(s.inner.Home), name)
				wants(t, err, unix.ENOTDIR, path)
				_, err = maintenance.Check(t.Context(), string(s.inner.Home))
				wants(t, err, unix.ENOTDIR, path)
				sameTree(t, readTree(t, outside), before)
			})
		}
		for _, part := range []string{"layers/child", "diff/child", "mnt/child", "diff/base"} {
			t.Run(part, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "child")
				write(t, s.inner.Home.Diff("base"), files{"f": "f"})
				if part != "diff/child" {
					write(t, s.inner.Home.Diff("child"), files{"g": "g"})
				}
				path := filepath.Join(string(s.inner.Home), part)
				outside, before := moveAway(t, path)
				s.insistOnErrors(t, part)
				must(t, s.Cleanup())
				sameTree(t, readTree(t, outside), before)
				must(t, s.Remove("child"))
				must(t, s.Remove("base"))
				sameTree(t, readTree(t, outside), before)
				reopened, err := reopen(string(s.inner.Home), name)
				must(t, err)
				must(t, reopened.Cleanup())
				sameTree(t, readTree(t, outside), before)
				noLeftovers(t, s)
			})
		}
	})
}

// insistOnErrors fails the test if an operation that needs this part of a store succeeds although the part is a symbolic link. The store
// has the layers base and child.
func (s testStore) insistOnErrors(t *testing.T, part string) {
	t.Helper()
	operations := map[string]func() error{
		"Get": func() error { _, err := s.Get("child", driver.GetOptions{}); return err },
	}
	if part != "mnt/child" {
		operations["Changes"] = func() error { _, err := s.Changes("child", nil, "base", nil); return err }
	}
	if part == "diff/child" || part == "layers/child" {
		operations["Diff"] = func() error { _, err := s.Diff("child", nil, "base", nil); return err }
		operations["DiffSize"] = func() error { _, err := s.DiffSize("child", nil, "base", nil); return err }
		operations["ReadWriteDiskUsage"] = func() error { _, err := s.ReadWriteDiskUsage("child"); return err }
		operations["ApplyDiff"] = func() error {
			_, err := s.ApplyDiff("child", "base", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "new"})})
			return err
		}
		operations["DiffGetter"] = func() error {
			getter, err := s.inner.DiffGetter("child")
			if err == nil {
				must(t, getter.Close())
			}
			return err
		}
	}
	for what, run := range operations {
		if err := run(); err == nil {
			t.Errorf("%s follows the link %s", what, part)
		} else if !strings.Contains(err.Error(), "child") {
			t.Errorf("%s: %v, which does not name the layer", what, err)
		}
	}
	problems, err := maintenance.Check(t.Context(), string(s.inner.Home))
	must(t, err)
	if len(problems) == 0 {
		t.Errorf("Check finds nothing wrong with the link %s", part)
	}
}

// moveAway replaces a part of a store by a symbolic link. The link leads to a copy of the part if that is a file, and otherwise to a
// directory with other files. moveAway returns the directory that the target of the link is in, and that directory's content.
func moveAway(t *testing.T, path string) (outside string, before tree) {
	t.Helper()
	outside = t.TempDir()
	target := filepath.Join(outside, "part")
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.IsDir():
		content, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(target, content, 0o644))
	default:
		must(t, fsutil.IgnoreGone(err))
		// A sweep would take these files for rubbish.
		write(t, target, files{"trash-1/f": "f", "stray/f": "f"})
	}
	must(t, os.RemoveAll(path))
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.Symlink(target, path))
	return outside, readTree(t, outside)
}
