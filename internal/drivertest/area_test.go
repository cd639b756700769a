//go:build linux

package drivertest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// A part is a way to mount something at a directory of a store.
type part struct {
	name string
	// mount mounts something at dir.
	mount func(t *testing.T, dir string)
}

// partKinds are ways to mount an empty directory.
var partKinds = []part{
	{"tmpfs", mountTmpfs},
	{"bind mount of another file system", func(t *testing.T, dir string) {
		t.Helper()
		disk := t.TempDir()
		mountTmpfs(t, disk)
		must(t, os.Mkdir(filepath.Join(disk, "part"), 0o700))
		bind(t, filepath.Join(disk, "part"), dir)
	}},
	{"bind mount of the same file system", func(t *testing.T, dir string) { t.Helper(); bind(t, t.TempDir(), dir) }},
}

func bind(t *testing.T, from, dir string) {
	t.Helper()
	must(t, unix.Mount(from, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // after a failure
}

// mountPart mounts the part dir of the store home, and copies the present content of the part into the mount.
func mountPart(t *testing.T, kind part, home, dir string) {
	t.Helper()
	path := filepath.Join(home, dir)
	must(t, os.MkdirAll(path, 0o700))
	before := filepath.Join(t.TempDir(), "before")
	copyDir(t, path, before)
	kind.mount(t, path)
	copyDir(t, before, path)
}

// unmountParts unmounts the parts of a store. Nothing else may be mounted there.
func unmountParts(t *testing.T, home string, dirs ...string) {
	t.Helper()
	for _, dir := range slices.Backward(dirs) {
		must(t, mountutil.UnmountRetry(filepath.Join(home, dir)))
	}
	noMounts(t, home)
}

// life makes layers, fills them from archives, through mounts and from a staging directory, and removes some. It returns what the others show.
func life(t *testing.T, s testStore) layerTrees {
	t.Helper()
	childEdited(t, s)
	s.create(t, "middle", "new", "new-child")
	s.apply(t, "new", "middle", newLayer...)
	s.change(t, "new-child", func(dir string) {
		write(t, dir, files{"own": "own"})
		must(t, os.Chtimes(filepath.Join(dir, "own"), time.Unix(1_000_000_000, 0), time.Unix(1_000_000_000, 0)))
		must(t, os.Remove(filepath.Join(dir, "g")))
		must(t, os.RemoveAll(filepath.Join(dir, "d")))
	})
	s.create(t, "middle", "staged", "not-staged")
	out := s.stage(t, filling{content: archiveBytes(t, newLayer...)})
	unused := s.stage(t, filling{content: archiveBytes(t, newLayer...)})
	must(t, s.ApplyStaged("staged", "middle", out, false))
	must(t, s.CleanupStagingDirectory(unused))
	s.create(t, "child", "removed", "deferred")
	must(t, s.Remove("deferred"))
	clean, err := s.DeferredRemove("removed")
	must(t, err)
	must(t, clean())
	noLeftovers(t, s)
	return shown(t, s)
}

// shown returns what the layers of a store show, and what Diff and Changes report about them.
func shown(t *testing.T, s testStore) layerTrees {
	t.Helper()
	ids, err := s.ListLayers()
	must(t, err)
	seen := layerTrees{}
	for _, id := range ids {
		seen[id] = s.see(t, id)
		sameTree(t, s.see(t, id, "ro"), seen[id])
		parents, err := s.inner.Home.Parents(id)
		must(t, err)
		parent := ""
		if len(parents) > 0 {
			parent = parents[0]
		}
		for name := range s.diff(t, id, parent) {
			seen[id]["in the archive: "+name] = ""
		}
		changes, err := s.Changes(id, nil, parent, nil)
		must(t, err)
		for _, change := range changes {
			seen[id]["change: "+change.String()] = ""
		}
	}
	return seen
}

// sameLayers fails the test for each layer that differs.
func sameLayers(t *testing.T, got, want layerTrees) {
	t.Helper()
	for id := range want {
		sameTree(t, got[id], want[id])
	}
	if len(got) != len(want) {
		t.Errorf("there are %d layers, not %d", len(got), len(want))
	}
}

// TestPartsOnOtherDisks mounts other file systems at the parts of a store that can be mount points. It first does so before the store
// exists. Then it copies the store to one disk, and does so with the copy.
func TestPartsOnOtherDisks(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		plain := newStore(t, name)
		want := life(t, plain)
		for _, kind := range partKinds {
			all := [][]string{{store.DiffDir}, {store.MntDir}}
			if kind.name == "tmpfs" {
				all = append(all, []string{""}, []string{store.DiffDir, store.MntDir}, []string{"", store.DiffDir})
			}
			for _, dirs := range all {
				t.Run(kind.name+" on home/"+filepath.Join(dirs...), func(t *testing.T) {
					home := filepath.Join(t.TempDir(), "home")
					for _, dir := range dirs {
						mountPart(t, kind, home, dir)
					}
					s, err := reopen(home, name)
					must(t, err)
					sameLayers(t, life(t, s), want)
					must(t, s.Cleanup())
					// All of it on one disk, then on several, then on one again.
					moved := filepath.Join(t.TempDir(), "home")
					copyDir(t, home, moved)
					unmountParts(t, home, dirs...)
					for _, dirs := range [][]string{nil, dirs, nil} {
						for _, dir := range dirs {
							mountPart(t, kind, moved, dir)
						}
						s, err = reopen(moved, name)
						must(t, err)
						sameLayers(t, shown(t, s), want)
						sweptAndRemoved(t, s)
						must(t, s.Cleanup())
						unmountParts(t, moved, dirs...)
					}
				})
			}
		}
	})
}

// sweptAndRemoved makes two layers, and scratch directories as others leave them. It removes one layer with Remove. Init sweeps the rest:
// the other layer has lost its file of parents.
func sweptAndRemoved(t *testing.T, s testStore) {
	t.Helper()
	for _, id := range []string{"removed", "killed"} {
		s.create(t, "new-child", id)
		s.change(t, id, func(dir string) { must(t, os.Remove(filepath.Join(dir, "own"))) })
	}
	must(t, os.Remove(s.inner.Home.Layers("killed")))
	write(t, s.inner.Home.BesideDiff().Tmp(), files{"trash-1/1/diff/f": "f", "apply-1/root/f": "f"})
	_, err := reopen(string(s.inner.Home), s.backend)
	must(t, err)
	must(t, s.Remove("removed"))
	noLeftovers(t, s)
}

// TestPartsInASharedMount shows that mounts of layers do not appear in other mount namespaces, whatever is mounted in the store.
func TestPartsInASharedMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, dirs := range [][]string{{store.DiffDir}, {store.MntDir}} {
			t.Run(dirs[0], func(t *testing.T) {
				disk := t.TempDir()
				mountTmpfs(t, disk)
				must(t, unix.Mount("", disk, "", unix.MS_SHARED, ""))
				home := filepath.Join(disk, "home")
				mountPart(t, partKinds[0], home, dirs[0])
				s, err := reopen(home, name)
				must(t, err)
				life(t, s)
				must(t, s.Remove("child"))
				longStack(t, s)
				for _, id := range []string{"new-child", "child"} {
					target := s.get(t, id)
					mounts, err := mountutil.MountsUnder(s.inner.Home.Mnt(""))
					must(t, err)
					if len(mounts) != 1 || mounts[0].Mountpoint != target || mounts[0].Optional != "" {
						t.Errorf("%+v", mounts)
					}
					must(t, s.Put(id))
				}
				must(t, s.Cleanup())
				unmountParts(t, home, dirs...)
			})
		}
	})
}

// TestPartsThatCannotBeMounts shows that Open refuses a store with a mount at a directory that files have to be moved to.
func TestPartsThatCannotBeMounts(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, dir := range []string{
			store.LayersDir, store.TmpDir, store.OverlayDir, "overlay/form", "overlay/shadow", "overlay/work/child", "overlay/lock",
			"diff/" + store.BesideName, "diff/" + store.BesideName + "/overlay", "diff/" + store.BesideName + "/tmp",
		} {
			for _, kind := range partKinds {
				t.Run(kind.name+" on "+dir, func(t *testing.T) {
					home := filepath.Join(t.TempDir(), "home")
					mountPart(t, kind, home, dir)
					refused := func() {
						t.Helper()
						_, err := reopen(home, name)
						wants(t, err, nil, filepath.Join(home, dir), "mount point", store.DiffDir, store.MntDir)
						mounts, err := mountutil.MountsUnder(home)
						must(t, err)
						if len(mounts) != 1 {
							t.Errorf("%v", mounts)
						}
					}
					refused()
					unmountParts(t, home, dir)
					s, err := reopen(home, name)
					must(t, err)
					s.create(t, "", "base", "child")
					must(t, s.Cleanup())
					mountPart(t, kind, home, dir)
					refused()
					unmountParts(t, home, dir)
				})
			}
		}
	})
}

// TestBesideIsNoLayer shows that no layer can have the name of the driver's own directory in diff.
func TestBesideIsNoLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		write(t, s.inner.Home.Diff(store.BesideName), files{"tmp/": "", "precious": "data"})
		for _, err := range []error{s.Create(store.BesideName, "", nil), s.Remove(store.BesideName), func() error { _, err := s.Get(store.BesideName, driver.GetOptions{}); return err }()} {
			wants(t, err, nil, store.BesideName)
		}
		_, err := reopen(string(s.inner.Home), name)
		must(t, err)
		sameNames(t, readTree(t, s.inner.Home.Diff(store.BesideName)).Names(), "precious", "tmp")
		must(t, os.RemoveAll(s.inner.Home.Diff(store.BesideName)))
	})
}

// TestFoundFilesStay has directories of a store be the roots of disks on which fsck(8) has put files that it found: the driver leaves these
// files alone.
func TestFoundFilesStay(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		home := filepath.Join(t.TempDir(), "home")
		dirs := []string{store.DiffDir, store.MntDir}
		for _, dir := range dirs {
			mountPart(t, partKinds[0], home, dir)
			write(t, filepath.Join(home, dir), files{"lost+found/#12": "found"})
		}
		s, err := reopen(home, name)
		must(t, err)
		wants(t, s.Create("lost+found", "", nil), nil, "lost+found")
		wants(t, s.Remove("lost+found"), nil, "lost+found")
		for _, dir := range dirs {
			if content, err := os.ReadFile(filepath.Join(home, dir, "lost+found/#12")); err != nil || string(content) != "found" {
				t.Errorf("%q, %v", content, err)
			}
		}
		if problems, err := maintenance.Check(t.Context(), home); err != nil || len(problems) > 0 {
			t.Errorf("Check: %v, %v", problems, err)
		}
		must(t, s.Cleanup())
		unmountParts(t, home, dirs...)
	})
}
