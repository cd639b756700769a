//go:build linux

package drivertest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/migration"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// TestMigrationOfMountedLayers opens stores whose layers are mounted as the driver of commit f9c230f mounted them: at their mount points,
// or elsewhere, so that the store seems to have no mounts.
func TestMigrationOfMountedLayers(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backendName backend.Name) {
		for _, name := range fixtureNames(t) {
			if len(readFixture(t, name, mountutil.BootID()).mounts) == 0 {
				continue
			}
			for _, elsewhere := range []bool{false, true} {
				where := map[bool]string{false: "here", true: "elsewhere"}[elsewhere]
				t.Run(name+" mounted "+where, func(t *testing.T) {
					testMigrationMounted(t, backendName, buildOldStore(t, name, mountutil.BootID()), elsewhere)
				})
			}
		}
	})
}

func testMigrationMounted(t *testing.T, backendName backend.Name, o oldStore, elsewhere bool) {
	t.Helper()
	private := o.home
	if o.diffMounted {
		o.mountDiff(t)
		defer unmountParts(t, o.home, store.DiffDir)
		private = filepath.Join(o.home, store.MntDir)
	}
	if !elsewhere {
		// The process that mounted the layers did this first.
		must(t, mountutil.MakePrivateMount(private))
	}
	targets := map[string]string{}
	for _, m := range o.mounts {
		targets[m.id] = filepath.Join(o.home, store.MntDir, m.id)
		if elsewhere {
			targets[m.id] = t.TempDir()
		}
		o.mountAsBefore(t, m, targets[m.id])
	}
	s, err := reopen(o.home, backendName)
	must(t, err)
	must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("2\n"), 0))
	for _, m := range o.mounts {
		o.stillWorks(t, m, targets[m.id])
	}
	// Opening the store once more must change nothing more.
	_, err = reopen(o.home, backendName)
	must(t, err)
	for _, m := range o.mounts {
		must(t, unix.Unmount(targets[m.id], 0))
	}
	must(t, s.Cleanup())
	// If another test program has meanwhile started a process in a mount namespace of its own, that process has copies of the mounts
	// until it ends.
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		s = openStore(t, o.home, backendName)
		if files, dirs := (migration.Migration{Home: s.inner.Home}).Former(); len(files)+len(dirs) == 0 || time.Now().After(end) {
			break
		}
		must(t, s.Cleanup())
	}
	o.migrated(t, s)
	o.mountsAreRight(t, s, "ro")
	o.mountsAreRight(t, s)
	must(t, s.Cleanup())
}

// mountAsBefore makes a mount again that existed when the fixture was written.
func (o oldStore) mountAsBefore(t *testing.T, m fixtureMount, target string) {
	t.Helper()
	in := func(path string) string { return filepath.Join(o.home, path) }
	mount := overlayfs.Mount{Target: target, Upper: in(m.upper), Work: in(m.work)}
	if m.readOnly {
		mount.Flags = unix.MS_RDONLY
	}
	for _, lower := range m.lowers {
		mount.Lowers = append(mount.Lowers, in(lower))
	}
	must(t, mount.Mount())
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) }) // after a failure
}

// stillWorks fails the test unless the mount m at target shows what it showed before, and can be written to if it could be before. The
// fixture then gets what stillWorks has written to the mount.
func (o oldStore) stillWorks(t *testing.T, m fixtureMount, target string) {
	t.Helper()
	l := o.layer(m.id)
	got, err := shownTree(target)
	must(t, err)
	sameOf(t, "mount of "+m.id, got, l.shows)
	if m.readOnly || o.isParent(m.id) {
		// Nothing is promised about a mount whose lower layer changes.
		return
	}
	// These changes need the work directory.
	must(t, os.Remove(filepath.Join(target, "fifo")))
	must(t, os.Chmod(filepath.Join(target, "place"), 0o700))
	l.shows, err = shownTree(target)
	must(t, err)
	o.written[m.id] = true
}

// isParent reports whether the layer id has other layers on top of it.
func (o oldStore) isParent(id string) bool {
	return slices.ContainsFunc(o.store, func(n node) bool {
		return filepath.Dir(n.path) == store.LayersDir && slices.Contains(strings.Fields(n.value), id)
	})
}
