//go:build linux

package drivertest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// TestInitSweeps opens a store on which operations were cut short.
func TestInitSweeps(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		write(t, s.inner.Home.Diff("base"), files{"f": "f"})
		h := string(s.inner.Home)
		write(t, h, files{
			// A Create that had not made its layers file; a Remove that had deleted that file; a Remove of the in-tree driver.
			"diff/created/": "", "mnt/created/": "",
			"diff/removed/data": "x", "overlay/shadow/removed/digest/above/data": "x", "overlay/form/removed": "trusted\n",
			"diff/old-removing/data": "x", "mnt/old-removing/": "",
			// Scratch directories, and a file that was about to be renamed.
			"tmp/create-1/diff/": "", "tmp/trash-2/diff/f": "x", "tmp/file-3": "x",
		})
		// A scratch directory with a mount in it, as a process leaves it when it is killed while it mounts.
		must(t, os.MkdirAll(filepath.Join(h, "tmp/mount-4/mnt"), 0o700))
		must(t, unix.Mount("none", filepath.Join(h, "tmp/mount-4/mnt"), "tmpfs", 0, ""))
		before := readTree(t, s.inner.Home.Diff("base"))
		openStore(t, h, name)
		for dir, want := range map[string][]string{
			store.LayersDir: {"base", "child"}, store.DiffDir: {"base", "base/f", "child"}, store.MntDir: {"base", "child"}, store.TmpDir: nil,
		} {
			t.Run(dir, func(t *testing.T) {
				sameNames(t, readTree(t, filepath.Join(h, dir)).Names(), want...)
			})
		}
		for _, dir := range []string{store.ShadowDir, store.FormDir} {
			sameNames(t, readTree(t, s.inner.Home.Overlay(dir)).Names())
		}
		sameTree(t, readTree(t, s.inner.Home.Diff("base")), before)
	})
}

// TestInitOnALiveStore opens a store while other drivers are at work on it.
func TestInitOnALiveStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		target := s.get(t, "child")
		write(t, target, files{"f": "f"})
		must(t, os.Remove(filepath.Join(target, "f")))
		// This is another driver's scratch directory.
		busy, err := s.inner.Home.NewScratch("busy")
		must(t, err)
		write(t, busy.Dir, files{"f": "f"})

		other := openStore(t, string(s.inner.Home), name)
		if !mountedAt(t, target) {
			t.Error("Init has unmounted a layer")
		}
		write(t, target, files{"g": "g"})
		sameNames(t, readTree(t, busy.Dir).Names(), "f")
		must(t, busy.Remove())
		other.create(t, "child", "grandchild")
		sameNames(t, other.see(t, "grandchild").Names(), "g")
		must(t, s.Put("child"))
		s.oneForm(t, "child")
		sameNames(t, s.see(t, "child").Names(), "g")
	})
}

// TestSweepKeepsWhatIsBusy has a mount without a layer that cannot be unmounted. The sweep must not touch anything under it.
func TestSweepKeepsWhatIsBusy(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		h := string(s.inner.Home)
		elsewhere := t.TempDir()
		write(t, elsewhere, files{"precious": "data"})
		write(t, h, files{"mnt/stray/": "", "diff/stray/data": "x"})
		target := filepath.Join(h, "mnt/stray")
		must(t, unix.Mount(elsewhere, target, "", unix.MS_BIND, ""))
		f, err := os.Open(filepath.Join(target, "precious"))
		must(t, err)
		defer f.Close()
		other := openStore(t, h, name)
		sameNames(t, readTree(t, elsewhere).Names(), "precious")
		sameNames(t, readTree(t, filepath.Join(h, store.DiffDir)).Names(), "stray", "stray/data")
		must(t, f.Close())
		must(t, other.Cleanup())
		openStore(t, h, name)
		sameNames(t, readTree(t, elsewhere).Names(), "precious")
		sameNames(t, readTree(t, filepath.Join(h, store.DiffDir)).Names())
		sameNames(t, readTree(t, filepath.Join(h, store.MntDir)).Names())
	})
}

func TestRemoveTreeRefusesMounts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	dir := t.TempDir()
	inside := filepath.Join(dir, "a", "mnt")
	must(t, os.MkdirAll(inside, 0o700))
	must(t, unix.Mount("none", inside, "tmpfs", 0, ""))
	wants(t, store.RemoveTree(filepath.Join(dir, "a")), nil, inside, "mount point")
	wants(t, store.RemoveTree(inside), nil, inside, "mount point")
	must(t, unix.Unmount(inside, 0))
	must(t, store.RemoveTree(filepath.Join(dir, "a")))
	must(t, store.RemoveTree(filepath.Join(dir, "a")))
}
