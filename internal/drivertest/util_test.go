//go:build linux

package drivertest

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage/drivers/copy"
	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// A testStore is a driver under test. inner is the same driver.
type testStore struct {
	*driver.Driver
	inner   *driver.Driver
	backend backend.Name
}

// newStore makes a driver on a store of its own. When the test ends, nothing may be mounted in the store.
func newStore(t *testing.T, name backend.Name, more ...func(*driver.Config)) testStore {
	t.Helper()
	s := openStore(t, filepath.Join(t.TempDir(), "home"), name, more...)
	return s
}

// openStore makes a driver on the store at dir, which may exist already.
func openStore(t *testing.T, dir string, name backend.Name, more ...func(*driver.Config)) testStore {
	t.Helper()
	s, err := reopen(dir, name, more...)
	must(t, err)
	t.Cleanup(func() {
		err := s.Cleanup()
		// A process that a parallel test starts keeps home busy for a moment, until it runs its program.
		for try := 0; err == nil && try < 40; try++ {
			if mounted, err := mountutil.IsMounted(dir); err != nil || !mounted {
				break
			}
			time.Sleep(50 * time.Millisecond)
			err = s.Cleanup()
		}
		if err != nil {
			t.Errorf("Cleanup: %v", err)
		}
		noMounts(t, dir)
	})
	return s
}

// reopen opens the store at home. It cleans up nothing when the test ends.
func reopen(home string, name backend.Name, more ...func(*driver.Config)) (testStore, error) {
	c := configFor(name)
	c.RunRoot = runRootOf(home)
	for _, change := range more {
		change(&c)
	}
	d, err := driver.Open(home, c)
	if err != nil {
		return testStore{}, err
	}
	return testStore{Driver: d, inner: d, backend: name}, nil
}

// runRootOf returns the run root of the store at home.
func runRootOf(home string) string { return home + "-run" }

// noLeftovers fails the test if the store, in which nothing may be mounted, has something that belongs to no layer.
func noLeftovers(t *testing.T, s testStore) {
	t.Helper()
	h := s.inner.Home
	ids, err := s.ListLayers()
	must(t, err)
	allowed := map[string][]string{runRootOf(string(h)) + "/" + filepath.Base(string(h)): nil}
	allow := func(dir string, names ...string) { allowed[dir] = append(allowed[dir], names...) }
	for _, dir := range append(h.OwnDirectories(), h.Layers(""), h.Diff(""), h.Mnt(""), h.Diff(store.BesideName)) {
		allow(filepath.Dir(dir), filepath.Base(dir))
	}
	for _, dir := range append(h.Belongings(""), h.Layers("")) {
		allow(dir, ids...)
	}
	allow(h.Overlay(), store.RunRootLink, store.StoreLock, store.MountsLock)
	for _, a := range h.Areas() {
		allowed[a.Tmp()] = nil
	}
	// Nothing is mounted, so that this directory must be empty.
	allowed[h.Overlay(store.AufsDir)] = nil
	for dir, names := range allowed {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		for _, entry := range entries {
			if !slices.Contains(names, entry.Name()) {
				t.Errorf("%s is left", filepath.Join(dir, entry.Name()))
			}
		}
	}
	if problems, err := maintenance.Check(t.Context(), string(h)); err != nil || len(problems) > 0 {
		t.Errorf("Check: %v, %v", problems, err)
	}
	if xinos, err := filepath.Glob("/dev/shm/aufs-xino-*"); err != nil || len(xinos) > 0 {
		t.Errorf("xino files are left: %v, %v", xinos, err)
	}
}

// get is Driver.Get. It fails the test on an error.
func (s testStore) get(t *testing.T, id string, options ...string) string {
	t.Helper()
	dir, err := s.Get(id, driver.GetOptions{Options: options})
	must(t, err)
	return dir
}

// create makes layers, each on top of the one before.
func (s testStore) create(t *testing.T, parent string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		must(t, s.Create(id, parent, nil))
		parent = id
	}
}

// change mounts the layer id, calls edit with the mount point, and unmounts the layer.
func (s testStore) change(t *testing.T, id string, edit func(dir string)) {
	t.Helper()
	dir := s.get(t, id)
	edit(dir)
	must(t, s.Put(id))
}

// see returns what a mount of the layer id shows.
func (s testStore) see(t *testing.T, id string, options ...string) tree {
	t.Helper()
	dir := s.get(t, id, options...)
	seen := readTree(t, dir)
	must(t, s.Put(id))
	return seen
}

// hasForm fails the test unless the layer id is in form f.
func (s testStore) hasForm(t *testing.T, id string, f whiteout.Form) {
	t.Helper()
	if is, err := s.inner.Home.Form(id); err != nil || is != f {
		t.Errorf("layer %s is in form %q and not %q, %v", id, is, f, err)
	}
	s.oneForm(t, id)
}

// oneForm fails the test if the layer id has marks of another form than its own.
func (s testStore) oneForm(t *testing.T, id string) {
	t.Helper()
	r, err := s.inner.Home.ReadForm(id)
	if err != nil || r.Converting {
		t.Errorf("layer %s is in form %q, %v", id, r, err)
	}
	for path, node := range readTree(t, s.inner.Home.Diff(id)) {
		other := strings.HasPrefix(filepath.Base(path), ".wh.")
		if first, _, _ := strings.Cut(path, "/"); !r.IsOverlay() && whiteout.IsOwnFile(first) && !fsutil.KernelFrom(5, 15) {
			// An older overlayfs marks each new directory, also one with a name that aufs keeps for itself. A conversion does not look into that.
			continue
		}
		if !r.IsOverlay() {
			other = strings.Contains(node, "overlay.") || strings.Contains(node, "device 0")
		}
		if other {
			t.Errorf("layer %s in form %q has %s: %s", id, r, path, node)
		}
	}
}

// written returns the form of a layer that the store's backend has mounted writable.
func (s testStore) written() whiteout.Form {
	if s.backend == backend.Aufs {
		return whiteout.AufsForm
	}
	return store.OwnForm()
}

// apply unpacks an archive of entries into the layer id.
func (s testStore) apply(t *testing.T, id, parent string, entries ...entry) {
	t.Helper()
	_, err := s.ApplyDiff(id, parent, driver.ApplyOptions{Diff: archiveOf(t, entries...)})
	must(t, err)
}

// diff returns the headers of the archive that Diff makes.
func (s testStore) diff(t *testing.T, id, parent string) map[string]*tar.Header {
	t.Helper()
	r, err := s.Diff(id, nil, parent, nil)
	must(t, err)
	headers := readArchive(t, r)
	must(t, r.Close())
	return headers
}

// threeLayers makes the layers base, middle on top of base, and child, which is empty, on top of middle. The layer other is beside them.
func threeLayers(t *testing.T, s testStore) {
	t.Helper()
	s.create(t, "", "base", "middle", "child")
	s.create(t, "", "other")
	s.apply(t, "base", "",
		entry{Name: "f", Content: "f"}, entry{Name: "d/"}, entry{Name: "d/f", Content: "df"}, entry{Name: "d/g", Content: "dg"},
		entry{Name: "e/"}, entry{Name: "e/f", Content: "ef"}, entry{Name: "link", Link: "f"}, entry{Name: "x/"}, entry{Name: "x/link", Link: "f"})
	s.apply(t, "middle", "base",
		entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/h", Content: "dh"},
		entry{Name: "e/"}, entry{Name: "e/.wh.f"}, entry{Name: "new", Content: "new"})
	s.apply(t, "other", "", entry{Name: "f", Content: "other"})
}

// copyDir copies a directory with all extended attributes. The library leaves some out when it is built without C.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	must(t, copy.DirCopy(from, to, copy.Content, true))
	must(t, filepath.WalkDir(from, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		names, err := fsutil.ListXattrs(path)
		for _, name := range names {
			value, gerr := system.Lgetxattr(path, name)
			err = errors.Join(err, gerr, system.Lsetxattr(to+strings.TrimPrefix(path, from), name, value, 0))
		}
		return err
	}))
}

// needKernel skips the test before Linux major.minor, for a reason that vmtest knows.
func needKernel(t *testing.T, major, minor int, reason string) {
	t.Helper()
	if !fsutil.KernelFrom(major, minor) {
		t.Skip(reason)
	}
}
