//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// TestUntranslatableLayers has a container on overlayfs make changes that have no aufs form. The layer still works on overlayfs, and its
// archive has all of the changes.
func TestUntranslatableLayers(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		long := strings.Repeat("n", 253)
		for name, edit := range map[string]func(t *testing.T, dir string){
			"a long name deleted": func(t *testing.T, dir string) {
				must(t, os.Remove(filepath.Join(dir, long)))
			},
			"a directory where the whiteout would be": func(t *testing.T, dir string) {
				must(t, os.Remove(filepath.Join(dir, long)))
				must(t, os.Remove(filepath.Join(dir, "f")))
				must(t, os.Mkdir(filepath.Join(dir, ".wh.f"), 0o755))
				write(t, dir, files{".wh.f/data": "x"})
			},
			"a symbolic link there": func(t *testing.T, dir string) {
				must(t, os.Remove(filepath.Join(dir, long)))
				must(t, os.Remove(filepath.Join(dir, "f")))
				must(t, os.Symlink("x", filepath.Join(dir, ".wh.f")))
			},
			"a file with content there": func(t *testing.T, dir string) {
				must(t, os.Remove(filepath.Join(dir, long)))
				must(t, os.Remove(filepath.Join(dir, "f")))
				write(t, dir, files{".wh.f": "content"})
			},
			"a directory for the mark": func(t *testing.T, dir string) {
				must(t, os.Remove(filepath.Join(dir, long)))
				must(t, os.RemoveAll(filepath.Join(dir, "d")))
				write(t, dir, files{"d/.wh..wh..opq/data": "x"})
			},
		} {
			t.Run(name, func(t *testing.T) {
				s := newStore(t, backend.Overlay)
				s.create(t, "", "base")
				write(t, s.inner.Home.Diff("base"), files{long: "", "f": "", "d/low": "", "kept": ""})
				s.create(t, "base", "child")
				var want []string
				s.change(t, "child", func(dir string) {
					edit(t, dir)
					write(t, dir, files{"precious": "data"})
					want = readTree(t, dir).Names()
				})
				for _, options := range [][]string{nil, {"ro"}, nil} {
					sameNames(t, s.see(t, "child", options...).Names(), want...)
				}
				archive := s.diff(t, "child", "base")
				if archive["precious"] == nil || archive[".wh."+long] == nil {
					t.Errorf("the archive holds %v", keysOf(archive))
				}
				if got := s.changes(t, "child", "base"); len(got) == 0 {
					t.Error("no changes")
				}
				s = openStore(t, string(s.inner.Home), backend.Overlay)
				s.create(t, "child", "grandchild")
				sameNames(t, s.see(t, "grandchild").Names(), want...)
				sameNames(t, s.see(t, "child").Names(), want...)
				must(t, s.Remove("grandchild"))
				must(t, s.Remove("child"))
			})
		}
	})
}

// TestContainerMakesAufsNames has a container on overlayfs make files under aufs's own names.
func TestContainerMakesAufsNames(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "child")
		write(t, s.inner.Home.Diff("child"), files{".wh..wh.plnk/1.2": "", ".wh..wh.aufs": "", ".wh..wh.orph/": ""})
		for range 2 {
			s.change(t, "child", func(dir string) {
				write(t, dir, files{".wh..wh.plnk/mine": "x", "f": "x"})
			})
		}
		// They are files like others there, but no archive can have them.
		sameNames(t, s.see(t, "child").Names(), "f", ".wh..wh.plnk", ".wh..wh.plnk/mine")
		sameNames(t, keysOf(s.diff(t, "child", "base")), "f")
		must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
		s.hasForm(t, "child", whiteout.AufsForm)
		if content, err := os.ReadFile(filepath.Join(s.inner.Home.Diff("child"), ".wh..wh.plnk/mine")); err != nil || string(content) != "x" {
			t.Errorf("a container's file has %q, %v", content, err)
		}
	})
}

// TestPutGoesByWhatIsMounted has a driver unmount what another driver, with the other backend, has mounted.
func TestPutGoesByWhatIsMounted(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := linked(t, backend.Aufs)
		other := openStore(t, string(s.inner.Home), backend.Overlay)
		dir := s.get(t, "child")
		writeThrough(t, filepath.Join(dir, "f"), "new")
		sameNames(t, keysOf(other.diff(t, "child", "base")), "f", "sub/", "sub/g", "gone")
		// The driver other finds the layer mounted already.
		other.get(t, "child")
		must(t, other.Put("child"))
		must(t, other.Cleanup())
		for _, path := range []string{"f", "sub/g", "gone"} {
			content, err := os.ReadFile(filepath.Join(s.inner.Home.Diff("child"), path))
			if err != nil || string(content) != "new" {
				t.Errorf("%s in the branch: %q, %v", path, content, err)
			}
		}
		dir = other.get(t, "child")
		must(t, os.Remove(filepath.Join(dir, "gone")))
		must(t, s.Cleanup())
		if mountedAt(t, dir) {
			t.Error("it is still mounted")
		}
		// The layer has the form of the driver that mounted it last.
		s.hasForm(t, "child", store.OwnForm())
	})
}

// TestAncestorOfALiveMount mounts a layer writable, and changes it, while a mount on top of it is alive.
func TestAncestorOfALiveMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"a": "", "b": "", "d/x": ""})
		s.create(t, "base", "parent", "child")
		dir := s.get(t, "child")
		s.change(t, "parent", func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "a")))
			must(t, os.RemoveAll(filepath.Join(dir, "d")))
			write(t, dir, files{"d/y": ""})
		})
		for _, name := range readTree(t, dir).Names() {
			if strings.Contains(name, ".wh.") {
				t.Errorf("the mount shows %s", name)
			}
		}
		sameNames(t, keysOf(s.diff(t, "parent", "base")), ".wh.a", "d/", "d/y", "d/.wh..wh..opq")
		must(t, s.Put("child"))
		s.hasForm(t, "parent", s.written())
		s.hasForm(t, "child", s.written())
		sameNames(t, s.see(t, "child").Names(), "b", "d", "d/y")
	})
}

// TestContainerLocksItsRoot has a container lock the directory that it was given: the driver does not wait for the container.
func TestContainerLocksItsRoot(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		for _, id := range []string{"base", "child"} {
			theirs, err := fsutil.LockDir(s.get(t, id))
			must(t, err)
			done := make(chan error, 1)
			go func() { _, err := s.Changes(id, nil, "", nil); done <- err }()
			select {
			case err := <-done:
				if id == "base" {
					must(t, err)
				}
			case <-time.After(20 * time.Second):
				t.Errorf("%s: the driver waits for the container", id)
			}
			theirs.Unlock()
			must(t, s.Put(id))
		}
	})
}

// TestHomeWithAPatternInItsName has stores at paths with characters that mean something to a shell.
func TestHomeWithAPatternInItsName(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, odd := range []string{"h[om]e", "ho[me", "h*me?"} {
			s := openStore(t, filepath.Join(t.TempDir(), odd), name)
			s.create(t, "", "base")
			write(t, s.inner.Home.Diff("base"), files{"a": "", "b": ""})
			s.create(t, "base", "parent", "child")
			dir := s.get(t, "child")
			s.change(t, "parent", func(dir string) { must(t, os.Remove(filepath.Join(dir, "a"))) })
			for _, name := range readTree(t, dir).Names() {
				if strings.Contains(name, ".wh.") {
					t.Errorf("the mount shows %s", name)
				}
			}
			must(t, s.Put("child"))
			s.hasForm(t, "parent", s.written())
		}
	})
}

// TestLeakedAufsMount has an aufs mount live on in another mount namespace: the overlay backend must not mount the layer.
func TestLeakedAufsMount(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := newStore(t, backend.Aufs)
		s.create(t, "", "base", "child")
		s.change(t, "child", func(dir string) { write(t, dir, files{"f": ""}) })
		s.get(t, "child")
		end := leak(t)
		must(t, s.Put("child"))
		other := openStore(t, string(s.inner.Home), backend.Overlay)
		before := readTree(t, s.inner.Home.Diff("child"))
		_, err := other.Get("child", driver.GetOptions{})
		wants(t, err, unix.EBUSY, "child")
		sameTree(t, readTree(t, s.inner.Home.Diff("child")), before)
		end()
		getsFreed(t, other, "child", driver.GetOptions{})
		must(t, other.Put("child"))
	})
}

// TestStraysAreNotGuessed has a layers/<id> that cannot be read or is no file. The driver does not take anything of the layer for rubbish.
func TestStraysAreNotGuessed(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		write(t, s.inner.Home.Diff("child"), files{"precious": "data"})
		must(t, os.Remove(s.inner.Home.Layers("child")))
		must(t, os.Mkdir(s.inner.Home.Layers("child"), 0o700))
		openStore(t, string(s.inner.Home), name)
		sameNames(t, readTree(t, s.inner.Home.Diff("child")).Names(), "precious")
		if s.Exists("child") {
			t.Error("it exists")
		}
		if err := s.Create("child", "base", nil); err == nil {
			t.Error("it was made again")
		}
		must(t, os.Remove(s.inner.Home.Layers("child")))
		must(t, os.Symlink("loop", s.inner.Home.Layers("child")))
		openStore(t, string(s.inner.Home), name)
		sameNames(t, readTree(t, s.inner.Home.Diff("child")).Names(), "precious")
	})
}

// TestCleanupLeavesTheAdminsMount has a store on a file system of its own, which is mounted at the store's very directory: Cleanup does not
// unmount it.
func TestCleanupLeavesTheAdminsMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		dir := filepath.Join(t.TempDir(), "home")
		must(t, os.Mkdir(dir, 0o700))
		must(t, unix.Mount("none", dir, "tmpfs", 0, ""))
		defer func() { must(t, unix.Unmount(dir, 0)) }()
		d, err := driver.Open(dir, configFor(name))
		must(t, err)
		must(t, d.Create("base", "", nil))
		must(t, d.Create("child", "base", nil))
		_, err = d.Get("child", driver.GetOptions{})
		must(t, err)
		must(t, d.Cleanup())
		if !d.Exists("base") || !mountedAt(t, dir) {
			t.Error("the file system was unmounted")
		}
		noMounts(t, filepath.Join(dir, store.MntDir))
	})
}

// TestFailedInitLeavesNoMount puts a file in the place of overlay/, so that Init fails. Init must leave no mount, and nothing new in home.
func TestFailedInitLeavesNoMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		dir := filepath.Join(t.TempDir(), "home")
		write(t, dir, files{"overlay": "not a directory"})
		_, err := driver.Open(dir, configFor(name))
		wants(t, err, unix.ENOTDIR, "overlay")
		noMounts(t, dir)
		sameNames(t, readTree(t, dir).Names(), "overlay")
	})
}

// TestApplyTwice applies an archive that deletes what the layer has from an earlier archive.
func TestApplyTwice(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		s.apply(t, "child", "base", entry{Name: "foo"}, entry{Name: "bar"}, entry{Name: "d/old"})
		s.apply(t, "child", "base", entry{Name: ".wh.foo"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/new"})
		sameNames(t, s.see(t, "child").Names(), "bar", "d", "d/new")
		s.apply(t, "base", "", entry{Name: "x"}, entry{Name: "y"})
		s.apply(t, "base", "", entry{Name: ".wh.x"})
		sameNames(t, readTree(t, s.get(t, "base")).Names(), "y")
		must(t, s.Put("base"))
		sameNames(t, s.see(t, "child").Names(), "bar", "d", "d/new", "y")
	})
}

// TestOpaqueRoot has a layer that hides all of its ancestors.
func TestOpaqueRoot(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "opaque", "child")
		s.apply(t, "base", "", entry{Name: "a"}, entry{Name: "b/c"})
		s.apply(t, "opaque", "base", entry{Name: ".wh..wh..opq"}, entry{Name: "new"})
		for _, options := range [][]string{nil, {"ro"}} {
			for _, id := range []string{"opaque", "child"} {
				sameNames(t, s.see(t, id, options...).Names(), "new")
			}
		}
		sameNames(t, s.changes(t, "opaque", "base"), "D /a", "D /b", "A /new")
		s.hasForm(t, "opaque", s.written())
		sameNames(t, keysOf(s.diff(t, "opaque", "base")), ".wh..wh..opq", "new")
	})
}

// TestBaseChangesUnderItsChildren changes a layer without parents, whose directory Get gives out as it is: the layer on top shows the
// changes.
func TestBaseChangesUnderItsChildren(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"d/f": "", ".wh.x": ""})
		s.create(t, "base", "child")
		sameNames(t, s.see(t, "child").Names(), "d", "d/f")
		s.change(t, "base", func(dir string) {
			// Mount the child in between.
			sameNames(t, s.see(t, "child").Names(), "d", "d/f")
			must(t, os.Remove(filepath.Join(dir, "d/f")))
			write(t, dir, files{"d/new": ""})
		})
		sameNames(t, s.see(t, "child").Names(), "d", "d/new")
	})
}

// TestArchiveWithOverlayAttributes applies an archive with attributes that would make overlayfs hide or move what is below.
func TestArchiveWithOverlayAttributes(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		write(t, s.inner.Home.Diff("base"), files{"d/low": ""})
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		must(t, w.WriteHeader(&tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{
			"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.user.mine": "v",
		}}))
		must(t, w.Close())
		_, err := s.ApplyDiff("child", "base", driver.ApplyOptions{Diff: &b})
		must(t, err)
		names, err := system.Llistxattr(filepath.Join(s.inner.Home.Diff("child"), "d"))
		must(t, err)
		if hasUserXattrs(t) {
			sameNames(t, names, "user.mine")
		} else {
			sameNames(t, names)
		}
		sameNames(t, s.see(t, "child").Names(), "d", "d/low")
	})
}

// TestUnmountOfADirectoryInAMount unmounts paths in a mount at which nothing is mounted.
func TestUnmountOfADirectoryInAMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		dir := s.get(t, "child")
		write(t, dir, files{"sub/": ""})
		must(t, aufsfs.Unmount(filepath.Join(dir, "sub")))
		must(t, aufsfs.Unmount(filepath.Join(dir, "nothing")))
		if !mountedAt(t, dir) {
			t.Error("the mount is gone")
		}
		must(t, s.Put("child"))
	})
}

// TestListingStaysInTheLayer shows that ReadListing does not follow a symbolic link that has taken the place of a directory.
func TestListingStaysInTheLayer(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	write(t, outside, files{"secret": ""})
	must(t, os.Symlink(outside, filepath.Join(root, "d")))
	must(t, os.Symlink("../../../../../../../../../../"+outside, filepath.Join(root, "e")))
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	for _, rel := range []string{"d", "e", "../" + filepath.Base(outside), "fifo"} {
		if l, err := whiteout.ReadListing(root, rel, whiteout.AufsForm); err == nil {
			t.Errorf("%s is listed: %v", rel, l.Entries)
		}
	}
	var err error
	if _, err = whiteout.ReadListing(root, "nothing", whiteout.AufsForm); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
