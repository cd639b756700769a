//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// oldFiles are the files of the driver that wrote the fixtures, except for those that the current driver has as well.
var oldFiles = []string{
	"overlay/mark", "overlay/trace", "overlay/synced", "overlay/aside", "overlay/run", "overlay/twin", "overlay/old", "overlay/used",
	"overlay/forgotten", "overlay/generation", "overlay/whiteout", "whiteouts",
	"diff/aufs-removing/overlay/aside", "diff/aufs-removing/overlay/run", "diff/aufs-removing/overlay/twin", "diff/aufs-removing/overlay/old",
}

// formLink is the path of the link that says that the layer id is in overlay form.
func formLink(home, id string) string { return filepath.Join(home, "overlay/form", id) }

// earlierBoot is the boot id of a boot that has ended.
const earlierBoot = "01234567-89ab-cdef-0123-456789abcdef"

// fixtureNames returns the names of all fixtures.
func fixtureNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(fixtureDir, "*.txt"))
	must(t, err)
	if len(files) == 0 {
		t.Fatal("there are no fixtures")
	}
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".txt"))
	}
	return names
}

// An oldStore is a store built from a fixture, and what must stay as it is in it.
type oldStore struct {
	fixture
	home string
	// rest is the content of the layers at rest.
	rest map[string]tree
	// written are the layers that were written to since the fixture was built. Nobody knows their archives.
	written map[string]bool
	// interrupted says that Init was killed. Directories that Init was working in may have lost their times.
	interrupted bool
}

// buildOldStore builds the fixture name as it was left during the kernel's boot with the id boot.
func buildOldStore(t *testing.T, name, boot string) oldStore {
	t.Helper()
	o := oldStore{fixture: readFixture(t, name, boot), home: filepath.Join(t.TempDir(), "home"), rest: map[string]tree{}, written: map[string]bool{}}
	if name == "user" && !hasUserXattrs(t) {
		t.Skip("the tests' file system has no attributes of users")
	}
	must(t, buildTree(o.home, o.store))
	t.Cleanup(func() {
		// After a failure.
		_ = unix.Unmount(filepath.Join(o.home, store.MntDir), unix.MNT_DETACH)
		_ = unix.Unmount(o.home, unix.MNT_DETACH)
	})
	built, err := listTree(o.home)
	must(t, err)
	sameTree(t, linesOf(built), linesOf(o.store))
	for _, l := range o.layers {
		if l.atRest() {
			o.rest[l.id] = o.content(t, l.id)
		}
	}
	return o
}

// content returns all of the layer id's files, with their inode numbers, and all that is kept for the layer.
func (o oldStore) content(t *testing.T, id string) tree {
	t.Helper()
	result := tree{}
	for _, dir := range append(o.keptDirs(id), filepath.Join(o.home, store.DiffDir, id)) {
		nodes, err := listTree(dir)
		must(t, err)
		for path, line := range linesOf(nodes) {
			path = filepath.Join(dir, path)
			result[path] = line + fmt.Sprint(" inode ", inodeOf(path))
		}
	}
	return result
}

// mountDiff makes diff a mount point, until the test ends.
func (o oldStore) mountDiff(t *testing.T) {
	t.Helper()
	dir := filepath.Join(o.home, store.DiffDir)
	bind(t, dir, dir)
}

// migrated fails the test unless the store is as a migration has to leave it. s has opened the store, and nothing has been mounted since.
func (o oldStore) migrated(t *testing.T, s testStore) {
	t.Helper()
	for _, path := range oldFiles {
		if _, err := os.Lstat(filepath.Join(o.home, path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
	ids, err := s.ListLayers()
	must(t, err)
	var want []string
	for _, l := range o.layers {
		want = append(want, l.id)
		o.formIsRight(t, l)
	}
	sameNames(t, ids, want...)
	if problems, err := maintenance.Check(t.Context(), o.home); err != nil || len(problems) > 0 {
		t.Errorf("Check: %v, %v", problems, err)
	}
	o.archivesAreRight(t, s)
}

// formIsRight fails the test unless the layer l is in a form that it may have, and its record says so.
func (o oldStore) formIsRight(t *testing.T, l *fixtureLayer) {
	t.Helper()
	f, converting := o.form(t, l.id)
	switch {
	case l.atRest():
		// If the layer has a trace of an earlier boot, only a look at all of its files could show that it is in aufs form. Until then, it
		// may count as being converted.
		if f != whiteout.AufsForm && !(converting && o.hasEarlierTrace(l.id)) {
			t.Errorf("layer %s is in form %s", l.id, f)
		}
		if got := o.content(t, l.id); !maps.Equal(got, o.rest[l.id]) {
			t.Errorf("layer %s was changed", l.id)
			sameTree(t, got, o.rest[l.id])
		}
	case l.state == stateStuck && f == whiteout.AufsForm:
		t.Errorf("layer %s has no aufs form, and nothing says that it is in overlay form", l.id)
	case f == whiteout.AufsForm:
		for path, line := range o.content(t, l.id) {
			if strings.Contains(line, ".overlay.") || strings.HasPrefix(line, "c ") && strings.Contains(line, `"0:0"`) {
				t.Errorf("layer %s is in aufs form, and has %s: %s", l.id, path, line)
			}
		}
	}
	if f == whiteout.AufsForm {
		o.noOtherNames(t, l.id)
	}
}

// form returns the recorded form of the layer id. If the layer is being converted, it may have that form only in part.
func (o oldStore) form(t *testing.T, id string) (f whiteout.Form, converting bool) {
	t.Helper()
	target, err := os.Readlink(formLink(o.home, id))
	if errors.Is(err, fs.ErrNotExist) {
		return whiteout.AufsForm, false
	}
	must(t, err)
	name, converting := strings.CutSuffix(target, " converting")
	f = whiteout.Form(name)
	if f != whiteout.OverlayTrusted && f != whiteout.OverlayUser && (f != whiteout.AufsForm || converting) {
		t.Errorf("layer %s is in form %q", id, target)
	}
	return f, converting
}

// hasEarlierTrace reports whether the store recorded during an earlier boot that the layer id was in overlay form.
func (o oldStore) hasEarlierTrace(id string) bool {
	return slices.ContainsFunc(o.store, func(n node) bool {
		elements := strings.Split(n.path, "/")
		return len(elements) == 4 && elements[1] == "trace" && elements[2] != mountutil.BootID() && elements[3] == id
	})
}

// keptDirs returns the directories that hold what is kept for the layer id.
func (o oldStore) keptDirs(id string) (dirs []string) {
	for _, n := range o.store {
		if filepath.Base(n.path) == id && filepath.Base(filepath.Dir(n.path)) == store.KeptDir {
			dirs = append(dirs, filepath.Join(o.home, n.path))
		}
	}
	return dirs
}

// noOtherNames fails the test for each file of the layer id that has a name outside of the layer and of what is kept for the layer.
func (o oldStore) noOtherNames(t *testing.T, id string) {
	t.Helper()
	names, links := map[uint64][]string{}, map[uint64]uint64{}
	for _, dir := range append(o.keptDirs(id), filepath.Join(o.home, store.DiffDir, id)) {
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			st, err := fsutil.LstatOf(path)
			names[st.Ino], links[st.Ino] = append(names[st.Ino], path), uint64(st.Nlink) //nolint:unconvert // it is not so everywhere
			return err
		}))
	}
	for ino, have := range names {
		if uint64(len(have)) != links[ino] {
			t.Errorf("%q has %d names", have, links[ino])
		}
	}
}

// archivesAreRight fails the test for each layer whose archive differs from the fixture's.
func (o oldStore) archivesAreRight(t *testing.T, s testStore) {
	t.Helper()
	for _, l := range o.layers {
		if o.written[l.id] {
			continue
		}
		parents, err := s.inner.Home.Parents(l.id)
		must(t, err)
		r, err := s.Diff(l.id, nil, append(parents, "")[0], nil)
		must(t, err)
		got, err := archiveTree(r)
		must(t, errors.Join(err, r.Close()))
		want := l.archive
		if o.interrupted && !l.atRest() {
			got, want = withoutDirTimes(got), withoutDirTimes(want)
		}
		sameOf(t, "archive of "+l.id, got, want)
	}
}

// mountsAreRight mounts each layer, and fails the test if the mount does not show what the fixture says.
func (o oldStore) mountsAreRight(t *testing.T, s testStore, options ...string) {
	t.Helper()
	for _, l := range o.layers {
		if l.state == stateLong && s.backend == backend.Aufs {
			continue
		}
		dir, err := s.Get(l.id, driver.GetOptions{Options: options})
		want := l.shows
		if l.state == stateStuck && s.backend == backend.Aufs {
			// Aufs can mount the layer box, but only read-only. It does not show the directory .wh.f that the layer has.
			if l.id != "box" || !slices.Contains(options, "ro") {
				wants(t, err, nil, l.id)
				continue
			}
			want = slices.DeleteFunc(slices.Clone(want), func(n node) bool { return strings.Contains("/"+n.path, "/"+whiteout.Prefix) })
		}
		must(t, err)
		got, err := shownTree(dir)
		must(t, errors.Join(err, s.Put(l.id)))
		sameOf(t, "mount of "+l.id, got, want)
	}
}

// sameOf compares two trees, and fails the test for each file that differs. Messages call the trees name.
func sameOf(t *testing.T, name string, got, want []node) {
	t.Helper()
	if !maps.Equal(linesOf(got), linesOf(want)) {
		t.Errorf("the %s is not right", name)
		sameTree(t, linesOf(got), linesOf(want))
	}
}

// again opens the store once more, and fails the test if that changes anything.
func (o oldStore) again(t *testing.T, backendName backend.Name) testStore {
	t.Helper()
	all := func() tree {
		nodes, err := listTree(o.home)
		must(t, err)
		return linesOf(withoutDirTimes(nodes))
	}
	before := all()
	s, err := reopen(o.home, backendName)
	must(t, err)
	must(t, s.Cleanup())
	sameTree(t, all(), before)
	return openStore(t, o.home, backendName)
}

// TestMigration opens stores that the driver of commit f9c230f has left, at rest and after crashes.
func TestMigration(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backendName backend.Name) {
		for _, name := range fixtureNames(t) {
			t.Run(name, func(t *testing.T) { testMigration(t, backendName, buildOldStore(t, name, mountutil.BootID()), false) })
			f := readFixture(t, name, mountutil.BootID())
			if f.namesBoot {
				t.Run(name+" in an earlier boot", func(t *testing.T) { testMigration(t, backendName, buildOldStore(t, name, earlierBoot), false) })
			}
			if f.diffMounted {
				t.Run(name+" with diff mounted", func(t *testing.T) { testMigration(t, backendName, buildOldStore(t, name, mountutil.BootID()), true) })
			}
		}
	})
}

func testMigration(t *testing.T, backendName backend.Name, o oldStore, mountDiff bool) {
	t.Helper()
	if mountDiff {
		o.mountDiff(t)
		defer unmountParts(t, o.home, store.DiffDir)
	}
	s, err := reopen(o.home, backendName)
	must(t, err)
	o.migrated(t, s)
	must(t, s.Cleanup())
	s = o.again(t, backendName)
	o.migrated(t, s)
	o.mountsAreRight(t, s, "ro")
	o.mountsAreRight(t, s)
	o.archivesAreRight(t, s)
	for _, l := range o.layers {
		if f, converting := o.form(t, l.id); converting && l.state != stateStuck {
			t.Errorf("layer %s is in form %s, and still being converted", l.id, f)
		}
	}
	must(t, s.Cleanup())
}

// TestMigrationLeavesDevicesAlone uses a layer at rest with files that overlayfs would take for its own marks, although overlayfs has
// never mounted the layer.
func TestMigrationLeavesDevicesAlone(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backendName backend.Name) {
		o := buildOldStore(t, "killed", earlierBoot)
		dir := filepath.Join(o.home, store.DiffDir, "plain")
		must(t, unix.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR|0o600, 0))
		must(t, system.Lsetxattr(filepath.Join(dir, "e"), "trusted.overlay.opaque", []byte("y"), 0))
		before := o.content(t, "plain")
		s, err := reopen(o.home, backendName)
		must(t, err)
		sameTree(t, o.content(t, "plain"), before)
		if f, _ := o.form(t, "plain"); f != whiteout.AufsForm {
			t.Errorf("it is in form %s", f)
		}
		must(t, s.Cleanup())
	})
}
