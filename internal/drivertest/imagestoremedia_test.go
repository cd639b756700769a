//go:build linux

package drivertest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// mountSquashfs mounts an image of testdata/imagestores at dir.
func mountSquashfs(t *testing.T, name, dir string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata/imagestores", name+".squashfs"))
	must(t, err)
	image := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(image, content, 0o600))
	device, err := storetest.Attach(image)
	must(t, err)
	defer device.Close()
	must(t, unix.Mount(device.Name(), dir, "squashfs", unix.MS_RDONLY, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // after a failure
}

// needSquashfs skips the test on a kernel without squashfs.
func needSquashfs(t *testing.T) {
	t.Helper()
	content, err := os.ReadFile("/proc/filesystems")
	must(t, err)
	if !slices.Contains(strings.Fields(string(content)), "squashfs") {
		t.Skip("the kernel has no squashfs")
	}
}

// TestImageStoreReplaced puts another release of a store in the place of an image store. Both releases are squashfs, have the same layers with
// the same times and inode numbers, and differ only in what a layer deletes in a subdirectory.
func TestImageStoreReplaced(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		needKernel(t, 5, 15, "this kernel does not number disks")
		needSquashfs(t)
		dir := t.TempDir()
		mountSquashfs(t, "one", dir)
		s := newStore(t, name, withImages(imageStore{path: dir}))
		s.create(t, "middle", "container")
		for n, release := range []string{"one", "two", "one", "two"} {
			if n > 0 {
				must(t, mountutil.UnmountRetry(dir))
				mountSquashfs(t, release, dir)
			}
			if n == 3 {
				// A driver that was not there when the store was replaced.
				var err error
				s, err = reopen(string(s.inner.Home), name, withImages(imageStore{path: dir}))
				must(t, err)
			}
			left := map[string]string{"one": "g", "two": "f"}[release]
			for range 2 {
				sameNames(t, s.see(t, "container").Names(), "d", "d/e", "d/e/"+left, "file")
				sameNames(t, s.see(t, "middle").Names(), "d", "d/e", "d/e/"+left, "file")
			}
		}
		if name == backend.Overlay {
			// The second mount of the same release has found what the first one has kept.
			look, err := s.inner.Shadows.LookAt([]store.Layer{s.inner.Stores.Find("middle", s.inner.Home)})
			must(t, err)
			_, ok := look.Cached(0)
			look.Close()
			if !ok {
				t.Error("nothing is kept of the layer")
			}
		}
		must(t, mountutil.UnmountRetry(dir))
		if _, err := s.Get("container", driver.GetOptions{}); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("without the image store: %v", err)
		}
	})
}

// TestImageStoreLayerReplaced has each layer of an image store on a mount of its own, and puts other layers in their place.
func TestImageStoreLayerReplaced(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		needSquashfs(t)
		dir, ids := t.TempDir(), []string{"base", "middle"}
		at := func(id string) string { return filepath.Join(dir, "aufs/diff", id) }
		mount := func(release string) {
			from := t.TempDir()
			mountSquashfs(t, release, from)
			must(t, os.MkdirAll(filepath.Join(dir, "aufs/layers"), 0o700))
			for _, id := range ids {
				content, err := os.ReadFile(filepath.Join(from, "aufs/layers", id))
				must(t, err)
				must(t, errors.Join(os.WriteFile(filepath.Join(dir, "aufs/layers", id), content, 0o600), os.MkdirAll(at(id), 0o700)))
				must(t, unix.Mount(filepath.Join(from, "aufs/diff", id), at(id), "", unix.MS_BIND, ""))
			}
		}
		unmount := func() {
			for _, id := range ids {
				must(t, mountutil.UnmountRetry(at(id)))
			}
		}
		mount("one")
		defer unmount()
		s := newStore(t, name, withImages(imageStore{path: dir}))
		s.create(t, "middle", "container")
		for n, release := range []string{"one", "two", "one"} {
			if n > 0 {
				unmount()
				mount(release)
			}
			left := map[string]string{"one": "g", "two": "f"}[release]
			for range 2 {
				sameNames(t, s.see(t, "container").Names(), "d", "d/e", "d/e/"+left, "file")
				sameNames(t, s.see(t, "middle").Names(), "d", "d/e", "d/e/"+left, "file")
			}
		}
	})
}

// TestImageStoreConvertedByOwner has the owner of an image store bring a layer to another form while a driver uses the image store. The
// cache of that driver is in another store, where the owner cannot invalidate it.
func TestImageStoreConvertedByOwner(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		// Without a cache of its own, the owner does not renew the time of the layer's root directory.
		must(t, os.RemoveAll(image.home.Overlay(store.KnownDir)))
		s := newStore(t, name, withImages(image))
		s.create(t, "middle", "container")
		for _, form := range hostBackends(t) {
			sameNames(t, s.see(t, "container").Names(), "d", "d/h", "e", "f", "link", "new", "x", "x/link")
			for _, deleted := range []bool{true, false} {
				owner, err := reopen(string(image.home), form)
				must(t, err)
				owner.change(t, "middle", func(dir string) {
					if deleted {
						must(t, os.Remove(filepath.Join(dir, "x/link")))
					} else {
						write(t, dir, files{"x/link": "again"})
					}
				})
				must(t, owner.Cleanup())
				if got := s.see(t, "container"); (got["x/link"] == "") != deleted || got["d/g"]+got["e/f"] != "" {
					t.Errorf("the owner has deleted x/link: %v; the container shows %q", deleted, got.Names())
				}
			}
		}
	})
}

// TestImageStoreForms has layers in the form of either backend in an image store.
func TestImageStoreForms(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, written := range hostBackends(t) {
			t.Run("written by "+string(written), func(t *testing.T) {
				var want tree
				image := newImageStore(t, t.TempDir(), written, func(s testStore) {
					threeLayers(t, s)
					s.change(t, "child", func(dir string) {
						must(t, errors.Join(os.Remove(filepath.Join(dir, "new")), os.RemoveAll(filepath.Join(dir, "x"))))
						write(t, dir, files{"x/y": "y"})
					})
					want = s.see(t, "child", "ro")
				})
				s := newStore(t, name, withImages(image))
				s.create(t, "child", "container")
				for _, id := range []string{"child", "container"} {
					got := s.see(t, id)
					sameNames(t, got.Names(), want.Names()...)
					if got["x/y"] != want["x/y"] {
						t.Errorf("%s has %s", id, got["x/y"])
					}
				}
				s.change(t, "container", func(dir string) { write(t, dir, files{"new": "again", "x/z": "z"}) })
				sameNames(t, s.see(t, "container").Names(), append(want.Names(), "new", "x/z")...)
				image.unchanged(t)
			})
		}
	})
}

// TestImageStoreOfInTree uses an image store that has only what the in-tree driver makes, on a file system that can be written, on a mount
// that is read-only, and on one on which the layers are a mount of their own.
func TestImageStoreOfInTree(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		for _, dir := range []string{store.OverlayDir, store.TmpDir, store.KeptDir, store.MntDir} {
			must(t, os.RemoveAll(filepath.Join(string(image.home), dir)))
		}
		image.is = everything(t, image.path)
		for how, prepare := range map[string]func(t *testing.T) imageStore{
			"writable": func(*testing.T) imageStore { return image },
			"read-only": func(t *testing.T) imageStore {
				bound := imageStore{path: t.TempDir(), is: image.is}
				must(t, unix.Mount(image.path, bound.path, "", unix.MS_BIND, ""))
				t.Cleanup(func() { must(t, mountutil.UnmountRetry(bound.path)) })
				must(t, unix.Mount("", bound.path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
				return bound
			},
			"diff is a mount": func(t *testing.T) imageStore {
				must(t, unix.Mount(image.home.Diff(""), image.home.Diff(""), "", unix.MS_BIND, ""))
				t.Cleanup(func() { must(t, mountutil.UnmountRetry(image.home.Diff(""))) })
				return image
			},
		} {
			t.Run(how, func(t *testing.T) {
				i := prepare(t)
				s := newStore(t, name, withImages(i))
				s.create(t, "middle", "container")
				for _, id := range []string{"middle", "container"} {
					sameNames(t, s.see(t, id).Names(), "d", "d/h", "e", "f", "link", "new", "x", "x/link")
				}
				s.change(t, "container", func(dir string) { write(t, dir, files{"d/h": "changed", "e/f": "again"}) })
				sameNames(t, keysOf(s.diff(t, "container", "middle")), "d/", "d/h", "e/", "e/f")
				must(t, s.Remove("container"))
				i.unchanged(t)
			})
		}
	})
}

// TestImageStoreOfEarlierVersion uses stores of earlier versions as image stores: those in which that version has left only caches can be
// read, and others are refused.
func TestImageStoreOfEarlierVersion(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, link := range []string{"mark/middle", "trace/another-boot/middle"} {
			image := threeImageLayers(t, name)
			must(t, os.MkdirAll(image.home.Overlay("twin/base"), 0o700))
			image.is = everything(t, image.path)
			s := newStore(t, name, withImages(image))
			sameNames(t, s.see(t, "middle").Names(), "d", "d/h", "e", "f", "link", "new", "x", "x/link")
			image.unchanged(t)
			must(t, os.MkdirAll(filepath.Dir(image.home.Overlay(link)), 0o700))
			must(t, os.Symlink("trusted", image.home.Overlay(link)))
			image.is = everything(t, image.path)
			_, err := reopen(string(s.inner.Home), name, withImages(image))
			wants(t, err, nil, "imagestore", image.path, "middle", "earlier version", "open the store once")
			image.unchanged(t)
		}
	})
}

// TestImageStoreInterrupted has operations in an image store that were cut short, and that only its owner can finish.
func TestImageStoreInterrupted(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, interrupt := range map[string]func(h store.Home) error{
			"a conversion": func(h store.Home) error {
				return h.SetForm("middle", store.FormRecord{Form: whiteout.OverlayTrusted, Converting: true})
			},
			"a change of its owners": func(h store.Home) error {
				return errors.Join(os.MkdirAll(h.Overlay(store.OwnersDir), 0o700), os.WriteFile(h.Overlay(store.OwnersDir, "middle"), []byte("plan"), 0o600))
			},
		} {
			image := threeImageLayers(t, name)
			s := newStore(t, name, withImages(image))
			s.create(t, "middle", "container")
			s.see(t, "container")
			must(t, interrupt(image.home))
			image.is = everything(t, image.path)
			for op, do := range map[string]func() error{
				"Get":      func() error { return s.mountError("container") },
				"GetImage": func() error { return s.mountError("middle") },
				"Diff":     func() error { _, err := s.Diff("middle", nil, "base", nil); return err },
				"Changes":  func() error { _, err := s.Changes("container", nil, "middle", nil); return err },
				"Create":   func() error { return s.Create("another", "middle", nil) },
			} {
				t.Run(what+" "+op, func(t *testing.T) { wants(t, do(), unix.EROFS, "middle", what, image.path) })
			}
			sameNames(t, s.see(t, "base").Names(), "d", "d/f", "d/g", "e", "e/f", "f", "link", "x", "x/link")
			image.unchanged(t)
		}
	})
}

// TestImageStoreOfReadOnlyHome opens a store that cannot be written, and that has not been used with the image store before.
func TestImageStoreOfReadOnlyHome(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		s := newStore(t, name, withImages(image))
		s.create(t, "middle", "container")
		s.change(t, "container", func(dir string) { write(t, dir, files{"own": "own"}) })
		want := s.report(t, "middle", "base")
		must(t, errors.Join(s.Cleanup(), os.RemoveAll(s.inner.Home.Overlay(store.ImagesDir))))
		home := string(s.inner.Home)
		must(t, errors.Join(unix.Mount(home, home, "", unix.MS_BIND, ""), unix.Mount("", home, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")))
		t.Cleanup(func() { must(t, mountutil.UnmountRetry(home)) })
		readOnly, err := reopen(home, name, withImages(image), func(c *driver.Config) { c.SkipMountHome = true })
		must(t, err)
		for range 2 {
			sameNames(t, readOnly.see(t, "container", "ro").Names(), "d", "d/h", "e", "f", "link", "new", "own", "x", "x/link")
		}
		if got := readOnly.report(t, "middle", "base"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		wants(t, readOnly.mountError("middle"), unix.EROFS, "middle", home)
		image.unchanged(t)
	})
}

// mountError returns the error of Get.
func (s testStore) mountError(id string) error {
	_, err := s.Get(id, driver.GetOptions{})
	return err
}

// TestImageStoreIsNotProbed checks that nothing in home says that a layer of an image store is in use, since no probe asks for it.
func TestImageStoreIsNotProbed(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		s := newStore(t, name, withImages(image))
		s.create(t, "", "middle2")
		s.get(t, "middle")
		for _, dir := range append(inuse.NewNotes(s.inner.Home, runRootOf(string(s.inner.Home))), filepath.Dir(filepath.Dir(s.inner.Home.Watch("x")))) {
			if store.IsThere(filepath.Join(dir, "middle")) {
				t.Errorf("%s has something of the layer", dir)
			}
		}
		if err := s.inner.Forms.Users.Idle("middle2"); err != nil {
			t.Error(err)
		}
		must(t, s.Put("middle"))
		noLeftovers(t, s)
	})
}

// TestImageStoreRecord removes or replaces what Init has recorded about an image store. The next Init must record it again.
func TestImageStoreRecord(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		s := newStore(t, name, withImages(image))
		s.create(t, "middle", "container")
		h := s.inner.Home
		links, err := filepath.Glob(h.Overlay(store.ImagesDir, "*", "store"))
		if err != nil || len(links) != 1 {
			t.Fatalf("%v, %v", links, err)
		}
		for _, spoil := range []func() error{
			func() error { return os.Remove(links[0]) },
			func() error { return os.RemoveAll(filepath.Dir(links[0])) },
			func() error { return os.RemoveAll(h.Overlay(store.ImagesDir)) },
			func() error { return errors.Join(os.Remove(links[0]), os.Symlink("elsewhere", links[0])) },
		} {
			must(t, spoil())
			_, err := reopen(string(h), name, withImages(image))
			must(t, err)
			found, err := h.WithRecorded()
			if err != nil || !slices.Equal(found.Images, []store.Home{image.home}) {
				t.Errorf("%v, %v", found, err)
			}
		}
		image.unchanged(t)
	})
}
