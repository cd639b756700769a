//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// An imageStore is an additional image store for tests.
type imageStore struct {
	path string // the graph root
	home store.Home
	// is is everything in it, when its owner has finished.
	is map[string]string
}

// newImageStore makes an image store in the directory path, and has fill fill it through a driver.
func newImageStore(t *testing.T, path string, name backend.Name, fill func(s testStore), more ...func(*driver.Config)) imageStore {
	t.Helper()
	i := imageStore{path: path, home: store.Home(filepath.Join(path, "aufs"))}
	s, err := reopen(string(i.home), name, more...)
	must(t, err)
	fill(s)
	must(t, s.Cleanup())
	must(t, os.RemoveAll(runRootOf(string(i.home))))
	i.is = everything(t, path)
	return i
}

// everything describes all files of a tree, with all that the kernel says of them except the times of access.
func everything(t *testing.T, root string) map[string]string {
	t.Helper()
	content, all := readTree(t, root), map[string]string{}
	for path, node := range content {
		st, err := fsutil.LstatOf(filepath.Join(root, path))
		must(t, err)
		all[path] = fmt.Sprintf("%s %d %d %v %v", node, st.Ino, st.Nlink, st.Ctim, st.Mtim)
	}
	return all
}

// unchanged fails the test if anything in the image store has changed.
func (i imageStore) unchanged(t *testing.T) {
	t.Helper()
	sameTree(t, everything(t, i.path), i.is)
}

// withImages is for newStore: the driver looks for layers in the image stores as well.
func withImages(stores ...imageStore) func(*driver.Config) {
	return func(c *driver.Config) {
		for _, i := range stores {
			c.ImageStores = append(c.ImageStores, i.path)
		}
	}
}

// threeImageLayers returns an image store with the layers of threeLayers.
func threeImageLayers(t *testing.T, name backend.Name) imageStore {
	t.Helper()
	return newImageStore(t, t.TempDir(), name, func(s testStore) { threeLayers(t, s) })
}

// report returns what all methods that only read a layer say of the layer.
func (s testStore) report(t *testing.T, id, parent string) string {
	t.Helper()
	archive, err := s.Diff(id, nil, parent, nil)
	must(t, err)
	content, err := io.ReadAll(archive)
	must(t, errors.Join(err, archive.Close()))
	changes, err := s.Changes(id, nil, parent, nil)
	must(t, err)
	size, err := s.DiffSize(id, nil, parent, nil)
	must(t, err)
	usage, err := s.ReadWriteDiskUsage(id)
	must(t, err)
	above, err := s.Parent(id)
	must(t, err)
	target, err := s.DifferTarget(id)
	must(t, err)
	return fmt.Sprintf("%q %v %d %v %s %v %s", content, changes, size, *usage, above, s.Exists(id), target)
}

// TestImageStoreReads compares what a driver says of the layers in an image store with what the owner of that store says.
func TestImageStoreReads(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		reports, shown := map[string]string{}, map[string]tree{}
		parents := map[string]string{"base": "", "middle": "base", "child": "middle"}
		image := newImageStore(t, t.TempDir(), name, func(s testStore) {
			threeLayers(t, s)
			s.change(t, "child", func(dir string) {
				must(t, errors.Join(os.Remove(filepath.Join(dir, "new")), os.RemoveAll(filepath.Join(dir, "e")), os.Mkdir(filepath.Join(dir, "e"), 0o700)))
				write(t, dir, files{"e/g": "eg", "own": "own"})
			})
			for id, parent := range parents {
				reports[id] = s.report(t, id, parent)
				shown[id] = s.see(t, id, "ro")
			}
		})
		s := newStore(t, name, withImages(image))
		for id, parent := range parents {
			if got := s.report(t, id, parent); got != reports[id] {
				t.Errorf("%s is %s, and its owner says %s", id, got, reports[id])
			}
			dir := s.get(t, id)
			sameTree(t, readTree(t, dir), shown[id])
			if err := os.WriteFile(filepath.Join(dir, "no"), nil, 0o600); !errors.Is(err, unix.EROFS) {
				t.Errorf("writing to a mount of %s: %v", id, err)
			}
			metadata, err := s.Metadata(id)
			must(t, err)
			if metadata["MergedDir"] != dir || metadata["UpperDir"] != image.home.Diff(id) {
				t.Errorf("it is mounted at %s, and Metadata says %v", dir, metadata)
			}
			must(t, errors.Join(s.Put(id)))
			if mounted, err := mountutil.IsMounted(dir); err != nil || mounted {
				t.Errorf("%s is mounted after its Put: %v, %v", id, mounted, err)
			}
		}
		s.getsFile(t, "child", "f", "f")
		ids, err := s.ListLayers()
		must(t, err)
		if got := s.ImageStores(); len(ids) > 0 || !slices.Equal(got, []string{image.path}) {
			t.Errorf("the store's own layers are %q, and its image stores %q", ids, got)
		}
		for _, id := range []string{"nobody", "../base", ""} {
			if _, err := s.Get(id, driver.GetOptions{}); err == nil || s.Exists(id) {
				t.Errorf("there is a layer %q", id)
			}
		}
		image.unchanged(t)
	})
}

// TestImageStoreChild puts layers on top of those of two image stores, one of which is on top of the other.
func TestImageStoreChild(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		lower := threeImageLayers(t, name)
		upper := newImageStore(t, t.TempDir(), name, func(s testStore) {
			s.create(t, "middle", "above")
			s.apply(t, "above", "middle", entry{Name: "d/"}, entry{Name: "d/.wh.h"}, entry{Name: "d/i", Content: "di"})
		}, withImages(lower))
		for order, images := range map[string][]imageStore{"lower first": {lower, upper}, "upper first": {upper, lower}} {
			t.Run(order, func(t *testing.T) {
				s := newStore(t, name, withImages(images...))
				s.create(t, "above", "own")
				must(t, s.CreateReadWrite("container", "own", nil))
				s.apply(t, "own", "above", entry{Name: "e/"}, entry{Name: "e/.wh..wh..opq"}, entry{Name: "e/own", Content: "own"})
				sameNames(t, s.see(t, "container").Names(), "d", "d/i", "e", "e/own", "f", "link", "new", "x", "x/link")
				s.change(t, "container", func(dir string) {
					must(t, os.Remove(filepath.Join(dir, "new")))
					write(t, dir, files{"d/i": "changed", "d/g": "again"})
				})
				if got := fmt.Sprint(s.changes(t, "container", "own")); got != "[C /d A /d/g C /d/i D /new]" {
					t.Errorf("the container's changes are %s", got)
				}
				sameNames(t, keysOf(s.diff(t, "container", "own")), "d/", "d/g", "d/i", ".wh.new")
				metadata, err := s.Metadata("own")
				must(t, err)
				if want := upper.home.Diff("above") + ":" + lower.home.Diff("middle") + ":" + lower.home.Diff("base"); metadata["LowerDir"] != want {
					t.Errorf("the layers below are %s, and not %s", metadata["LowerDir"], want)
				}
				must(t, errors.Join(s.Remove("container"), s.Remove("own")))
				noLeftovers(t, s)
				upper.unchanged(t)
				lower.unchanged(t)
			})
		}
	})
}

// TestImageStoreIsOnlyRead has each operation that changes layers try to change one in an image store.
func TestImageStoreIsOnlyRead(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		s := newStore(t, name, withImages(image))
		for op, do := range map[string]func() error{
			"ApplyDiff": func() error {
				_, err := s.ApplyDiff("child", "middle", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "f", Content: "f"})})
				return err
			},
			"ApplyDiff with another parent": func() error {
				_, err := s.ApplyDiff("child", "", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "f", Content: "f"})})
				return err
			},
			"ApplyStaged": func() error {
				target, err := s.Stage(nil, func(target, _ string) error { return os.WriteFile(filepath.Join(target, "f"), nil, 0o600) })
				must(t, err)
				return errors.Join(s.ApplyStaged("child", "middle", target, false), s.CleanupStagingDirectory(target))
			},
			"CommitLayer": func() error {
				_, err := s.applyStagedLayer("child", "middle", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "f", Content: "f"})})
				return err
			},
			"UpdateLayerIDMap": func() error { return s.UpdateLayerIDMap("child", noMaps, twoRanges, "") },
		} {
			t.Run(op, func(t *testing.T) {
				wants(t, do(), unix.EROFS, "layer child: the layer is in the additional image store "+image.path)
			})
		}
		must(t, s.Remove("child"))
		if !s.Exists("child") {
			t.Error("the layer is gone")
		}
		image.unchanged(t)
		noLeftovers(t, s)
	})
}

// TestImageStoreSameID has a layer of one name in home and in two image stores.
func TestImageStoreSameID(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		with := func(content string) imageStore {
			return newImageStore(t, t.TempDir(), name, func(s testStore) {
				s.create(t, "", "base", "child")
				s.apply(t, "base", "", entry{Name: content, Content: content}, entry{Name: "d/"}, entry{Name: "d/" + content})
				s.apply(t, "child", "base", entry{Name: "d/"}, entry{Name: "d/.wh." + content})
			})
		}
		first, second := with("first"), with("second")
		s := newStore(t, name, withImages(first, second))
		sameNames(t, s.see(t, "child").Names(), "d", "first")
		dir := s.get(t, "base")
		s.create(t, "", "base")
		s.apply(t, "base", "", entry{Name: "own"})
		sameNames(t, readTree(t, dir).Names(), "d", "d/first", "first")
		// This Put is of the layer that the Get was of.
		must(t, s.Put("base"))
		noMounts(t, dir)
		sameNames(t, s.see(t, "base").Names(), "own")
		// The layers of an image store do not mix with those of home.
		sameNames(t, s.see(t, "child").Names(), "d", "first")
		s.create(t, "child", "container")
		sameNames(t, s.see(t, "container").Names(), "d", "first")
		for id, parent := range map[string]string{"child": "", "base": "container"} {
			if id == "base" {
				must(t, s.Remove("base"))
			}
			wants(t, s.Create(id, parent, nil), fs.ErrExist, id, first.path)
		}
		sameNames(t, s.see(t, "base").Names(), "d", "d/first", "first")
		must(t, s.Remove("container"))
		must(t, s.Create("child", "", nil))
		sameNames(t, s.see(t, "child").Names())
		first.unchanged(t)
		second.unchanged(t)
	})
}

// TestImageStoreOwners changes the owners in a layer on top of one in an image store.
func TestImageStoreOwners(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		s := newStore(t, name, withImages(image))
		want := s.seeOwned(t, "middle", twoRanges)
		must(t, s.CreateFromTemplate("mapped", "middle", &driver.CreateOptions{IDMappings: twoRanges}, false))
		must(t, s.UpdateLayerIDMap("mapped", noMaps, twoRanges, ""))
		got := s.seeOwned(t, "mapped", noMaps)
		// The root directory is the new layer's.
		delete(got, ".")
		delete(want, ".")
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		sameNames(t, s.mappedChanges(t, "mapped", "middle", twoRanges))
		image.unchanged(t)
	})
}

// TestImageStoreAmongDrivers opens a store whose image layers are in use, with and without the image store, checks and repairs it.
func TestImageStoreAmongDrivers(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		s := newStore(t, name, withImages(image))
		s.create(t, "middle", "container")
		inContainer, inImage := s.get(t, "container"), s.get(t, "middle")
		want := readTree(t, inImage)
		for range 2 {
			other, err := reopen(string(s.inner.Home), name)
			must(t, err)
			if other.Exists("middle") {
				t.Error("a driver without the option finds the image store")
			}
			if _, err := other.Get("container", driver.GetOptions{}); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("mounting without the image store: %v", err)
			}
			for _, look := range []func() ([]maintenance.Problem, error){
				func() ([]maintenance.Problem, error) { return maintenance.Check(t.Context(), string(s.inner.Home)) },
				func() ([]maintenance.Problem, error) { return maintenance.Repair(t.Context(), string(s.inner.Home)) },
			} {
				if problems, err := look(); err != nil || len(problems) > 0 {
					t.Errorf("%v, %v", problems, err)
				}
			}
			again, err := reopen(string(s.inner.Home), name, withImages(image))
			must(t, err)
			if dir, err := again.Get("middle", driver.GetOptions{}); err != nil || dir != inImage {
				t.Errorf("%q, %v", dir, err)
			}
			must(t, again.Put("middle"))
		}
		sameTree(t, readTree(t, inImage), want)
		sameNames(t, readTree(t, inContainer).Names(), want.Names()...)
		must(t, errors.Join(s.Put("container"), s.Cleanup()))
		noMounts(t, string(s.inner.Home))
		must(t, s.Remove("container"))
		noLeftovers(t, s)
		image.unchanged(t)
		// Without the image store, a check says what is missing.
		s.create(t, "middle", "container")
		must(t, os.Rename(image.path, image.path+"-gone"))
		problems, err := maintenance.Check(t.Context(), string(s.inner.Home))
		if err != nil || len(problems) != 1 || problems[0].Kind != maintenance.DamagedParents || problems[0].Layer != "container" {
			t.Errorf("%v, %v", problems, err)
		}
		must(t, os.Rename(image.path+"-gone", image.path))
	})
}

// TestImageStoreMountedByTwo has many users of one layer of an image store, in two drivers.
func TestImageStoreMountedByTwo(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		s := newStore(t, name, withImages(image))
		other, err := reopen(string(s.inner.Home), name, withImages(image))
		must(t, err)
		done := make(chan error)
		for n := range 8 {
			go func() {
				d := []testStore{s, other}[n%2]
				dir, err := d.Get("middle", driver.GetOptions{Options: []string{"nodev"}})
				if err == nil {
					_, err = os.Stat(filepath.Join(dir, "d", "h"))
				}
				done <- err
			}()
		}
		for range 8 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		mounts, err := mountutil.MountsUnder(s.inner.Home.Mnt(""))
		if err != nil || len(mounts) != 1 {
			t.Errorf("%v, %v", mounts, err)
		}
		for range 4 {
			must(t, s.Put("middle"))
		}
		image.unchanged(t)
	})
}
