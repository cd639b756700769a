//go:build linux

package drivertest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// bindFull mounts a directory with a file in it at target, and returns a function that fails the test unless the file is still there.
func bindFull(t *testing.T, target string) (unharmed func()) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files{"precious": "data"})
	must(t, unix.Mount(dir, target, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) }) // after a failure
	return func() {
		t.Helper()
		sameNames(t, readTree(t, dir).Names(), "precious")
	}
}

// mountTmpfs mounts a tmpfs at target.
func mountTmpfs(t *testing.T, target string) {
	t.Helper()
	must(t, unix.Mount("none", target, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) }) // after a failure
}

// keepBusy keeps a file open in dir until end is called.
func keepBusy(t *testing.T, dir string) (end func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "open"))
	must(t, err)
	t.Cleanup(func() { _ = f.Close() }) // after a failure
	return func() {
		t.Helper()
		must(t, os.Remove(f.Name()))
		must(t, f.Close())
	}
}

// foreignMounts are mounts that somebody can make in the place of the directories of the layer child. mount returns away, which unmounts what
// Remove cannot unmount, or closes the file that keeps it busy, and unharmed, which checks that what was mounted is unharmed.
var foreignMounts = []struct {
	name string
	// refused is the path in home with which Remove fails, or "" if Remove succeeds.
	refused string
	mount   func(t *testing.T, h store.Home) (away, unharmed func())
}{
	{"tmpfs over mnt twice", "", func(t *testing.T, h store.Home) (away, unharmed func()) {
		t.Helper()
		mountTmpfs(t, h.Mnt("child"))
		mountTmpfs(t, h.Mnt("child"))
		return func() {}, func() {}
	}},
	{"bind mount on mnt", "", func(t *testing.T, h store.Home) (away, unharmed func()) {
		t.Helper()
		return func() {}, bindFull(t, h.Mnt("child"))
	}},
	{"busy mounts on mnt", "mnt/child", func(t *testing.T, h store.Home) (away, unharmed func()) {
		t.Helper()
		mountTmpfs(t, h.Mnt("child"))
		end := keepBusy(t, h.Mnt("child"))
		return end, bindFull(t, h.Mnt("child"))
	}},
	{"bind mount in diff", "", func(t *testing.T, h store.Home) (away, unharmed func()) {
		t.Helper()
		return func() {}, bindFull(t, filepath.Join(h.Diff("child"), "d"))
	}},
	{"busy mount in diff", "diff/child/d", func(t *testing.T, h store.Home) (away, unharmed func()) {
		t.Helper()
		unharmed = bindFull(t, filepath.Join(h.Diff("child"), "d"))
		return keepBusy(t, filepath.Join(h.Diff("child"), "d")), unharmed
	}},
	{"bind mount on diff", "diff/child", func(t *testing.T, h store.Home) (away, unharmed func()) {
		t.Helper()
		unharmed = bindFull(t, h.Diff("child"))
		return func() { must(t, unix.Unmount(h.Diff("child"), 0)) }, unharmed
	}},
	{"bind mount on the lock", "overlay/lock/child", func(t *testing.T, h store.Home) (away, unharmed func()) {
		t.Helper()
		path := h.Overlay(store.LockDirName, "child")
		must(t, unix.Mount(path, path, "", unix.MS_BIND, ""))
		return func() { must(t, unix.Unmount(path, 0)) }, func() {}
	}},
}

// TestRemoveOfForeignMounts removes a mounted layer that somebody has mounted something over. The layer must be gone or stay whole, with what
// was written to a file that has two names in its parent, and what is mounted must stay untouched.
func TestRemoveOfForeignMounts(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, foreign := range foreignMounts {
			t.Run(foreign.name, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "child")
				s.change(t, "base", func(dir string) {
					write(t, dir, files{"one": "old"})
					must(t, os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "two")))
				})
				dir := s.get(t, "child")
				write(t, dir, files{"d/f": "f"})
				before := readTree(t, dir)
				// From now on nobody reads the other name in this mount, because aufs then makes it a link to the new content.
				one, err := os.OpenFile(filepath.Join(dir, "one"), os.O_WRONLY|os.O_TRUNC, 0)
				must(t, err)
				_, err = one.WriteString("new")
				must(t, errors.Join(err, one.Close()))
				away, unharmed := foreign.mount(t, s.inner.Home)
				err = s.Remove("child")
				unharmedNow := func() { t.Helper(); away(); unharmed() }
				if foreign.refused == "" {
					must(t, err)
					unharmedNow()
					noLeftovers(t, s)
					return
				}
				wants(t, err, unix.EBUSY, "child", filepath.Join(string(s.inner.Home), foreign.refused))
				if !s.Exists("child") {
					t.Error("the layer is gone")
				}
				unharmedNow()
				// The first Remove may have unmounted some of the busy mounts.
				must(t, s.Put("child"))
				must(t, mountutil.UnmountUnder(s.inner.Home.Diff("child")))
				after := s.see(t, "child")
				if isLink := after["one"] == after["two"]; isLink != (name == backend.Aufs) {
					t.Errorf("of two names of a file is one written, and they are %v and %v", after["one"], after["two"])
				}
				for _, linked := range []string{"one", "two"} {
					delete(before, linked)
					delete(after, linked)
				}
				sameTree(t, after, before)
				must(t, s.Remove("child"))
				unharmed()
				noLeftovers(t, s)
			})
		}
	})
}

// TestClearMountsLooksAgain has somebody mount something on a directory of a layer while the layer is unmounted for its removal.
func TestClearMountsLooksAgain(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		for _, dir := range []string{s.inner.Home.Diff("child"), s.inner.Home.Mnt("child")} {
			s.get(t, "child")
			var unharmed func()
			err := s.inner.Remover.ClearMounts("child", func(string) error {
				err := s.Put("child")
				unharmed = bindFull(t, dir)
				return err
			})
			wants(t, err, unix.EBUSY, dir)
			unharmed()
			must(t, unix.Unmount(dir, 0))
		}
		must(t, s.Remove("child"))
		noLeftovers(t, s)
	})
}

// TestRemoveOfAHiddenMount removes a mounted layer while home is mounted over itself, so that the layer's mount cannot be reached.
func TestRemoveOfAHiddenMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		target, home := s.get(t, "child"), string(s.inner.Home)
		write(t, target, files{"f": "f"})
		must(t, unix.Mount(home, home, "", unix.MS_BIND, ""))
		err := s.Remove("child")
		must(t, unix.Unmount(home, 0))
		wants(t, err, unix.EBUSY, "child", target+" is a mount point")
		sameNames(t, readTree(t, target).Names(), "f")
		must(t, s.Remove("child"))
		noLeftovers(t, s)
	})
}

// TestSweepOfForeignMounts is TestRemoveOfForeignMounts for a layer that a process left when it was killed in Remove. The driver must
// sweep such a layer as soon as it can.
func TestSweepOfForeignMounts(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, foreign := range foreignMounts {
			t.Run(foreign.name, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "child")
				s.change(t, "child", func(dir string) { write(t, dir, files{"d/f": "f"}) })
				must(t, os.Remove(s.inner.Home.Layers("child")))
				away, unharmed := foreign.mount(t, s.inner.Home)
				if foreign.refused != "" {
					_, err := reopen(string(s.inner.Home), name)
					if strings.HasPrefix(foreign.refused, store.OverlayDir) {
						wants(t, err, nil, foreign.refused, "mount point")
					} else {
						must(t, err)
					}
					err = s.Create("child", "base", nil)
					wants(t, err, unix.EBUSY, "child", filepath.Join(string(s.inner.Home), foreign.refused))
					_, err = s.Get("child", driver.GetOptions{})
					wants(t, err, store.ErrLayerUnknown)
				}
				away()
				_, err := reopen(string(s.inner.Home), name)
				must(t, err)
				unharmed()
				noLeftovers(t, s)
				s.create(t, "base", "child")
				sameNames(t, s.see(t, "child").Names())
			})
		}
	})
}
