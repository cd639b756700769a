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
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// TestImageStorePaths opens stores with image stores that cannot be used.
func TestImageStorePaths(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		with := func(change func(aufs string) error) string {
			dir := t.TempDir()
			must(t, change(filepath.Join(dir, "aufs")))
			return dir
		}
		home := filepath.Join(t.TempDir(), "aufs")
		must(t, os.Mkdir(home, 0o700))
		file := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(file, nil, 0o600))
		for path, word := range map[string]string{
			"relative":                "not absolute",
			t.TempDir() + "/missing":  "no such file",
			image.home.Layers("base"): "not a directory",
			file:                      "not a directory",
			with(func(aufs string) error { return os.Mkdir(aufs, 0o700) }): "layers: no such file",
			with(func(aufs string) error { return os.Symlink("/", aufs) }): "layers: no such file",
			with(func(aufs string) error {
				return errors.Join(os.MkdirAll(aufs+"/layers", 0o700), os.Symlink("/", aufs+"/diff"))
			}): "not a directory",
			with(func(aufs string) error {
				return errors.Join(os.MkdirAll(aufs+"/layers", 0o700), os.Mkdir(aufs+"/diff", 0o700), os.Symlink("/", aufs+"/overlay"))
			}): "not a directory",
		} {
			_, err := reopen(home, name, func(c *driver.Config) { c.ImageStores = []string{path} })
			wants(t, err, nil, "imagestore", path, word)
		}
		entries, err := os.ReadDir(home)
		if err != nil || len(entries) > 0 {
			t.Errorf("%v, %v", entries, err)
		}
		must(t, os.Symlink(image.path, home+"-link"))
		s := newStore(t, name, func(c *driver.Config) { c.ImageStores = []string{home + "-link", home + "-link/"} })
		sameNames(t, s.see(t, "other").Names(), "f")
		image.unchanged(t)
	})
}

// TestImageStoreIsTheGraphRoot lists the graph root among the image stores, by its path and by a link.
func TestImageStoreIsTheGraphRoot(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		root := t.TempDir()
		link := filepath.Join(t.TempDir(), "link")
		must(t, os.Symlink(root, link))
		image := threeImageLayers(t, name)
		for range 2 {
			d, err := reopen(filepath.Join(root, "aufs"), name, func(c *driver.Config) { c.ImageStores = []string{root, link, image.path} })
			must(t, err)
			if got := d.ImageStores(); !slices.Equal(got, []string{image.path}) {
				t.Errorf("the image stores are %q", got)
			}
			must(t, d.Cleanup())
		}
	})
}

// TestImageStoreOfAnotherDriver has additional image stores without layers of this driver, as distributions list them in storage.conf.
func TestImageStoreOfAnotherDriver(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		empty, other := t.TempDir(), t.TempDir()
		must(t, os.MkdirAll(filepath.Join(other, "overlay/l"), 0o700))
		image := threeImageLayers(t, name)
		s := newStore(t, name, func(c *driver.Config) { c.ImageStores = []string{empty, image.path, other} })
		sameNames(t, s.see(t, "other").Names(), "f")
		if got := s.ImageStores(); !slices.Equal(got, []string{image.path}) {
			t.Errorf("the image stores are %q", got)
		}
		for dir, want := range map[string]int{empty: 0, other: 1, filepath.Join(other, "overlay"): 1} {
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != want {
				t.Errorf("%s has %v, %v", dir, entries, err)
			}
		}
		image.unchanged(t)
	})
}

// TestImageStoreOddPaths has an image store at a path that is long, or has characters that end a path in mount options.
func TestImageStoreOddPaths(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, part := range []string{"a,b", "a:b", "a=b", `a\b c`, strings.Repeat("long/", 200)} {
			path := filepath.Join(t.TempDir(), part)
			must(t, os.MkdirAll(path, 0o755))
			image := threeImageLayers(t, name)
			must(t, os.Rename(string(image.home), filepath.Join(path, "aufs")))
			image = imageStore{path: path, home: store.Home(filepath.Join(path, "aufs")), is: everything(t, path)}
			if i := strings.IndexAny(part, ",:="); i >= 0 && name == backend.Aufs {
				_, err := reopen(filepath.Join(t.TempDir(), "home"), name, withImages(image))
				wants(t, err, store.ErrPrerequisites, path, part[i:i+1], "cannot parse")
				continue
			}
			if errors.Is(os.Symlink(string(image.home), filepath.Join(t.TempDir(), "link")), unix.ENAMETOOLONG) {
				// The store has a link to each image store. A link on xfs can have 1,024 bytes.
				_, err := reopen(filepath.Join(t.TempDir(), "home"), name, withImages(image))
				wants(t, err, unix.ENAMETOOLONG, path)
				continue
			}
			s := newStore(t, name, withImages(image))
			s.create(t, "middle", "container")
			for _, id := range []string{"container", "middle"} {
				sameNames(t, s.see(t, id).Names(), "d", "d/h", "e", "f", "link", "new", "x", "x/link")
			}
			image.unchanged(t)
		}
	})
}

// TestImageStoreOnOverlay has an image store on overlayfs, which aufs does not take as a branch. The backend auto is overlayfs then.
func TestImageStoreOnOverlay(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		t.Cleanup(wire.ExpectMessages("already stacked"))
		image := threeImageLayers(t, backend.Overlay)
		dir := t.TempDir()
		must(t, unix.Mount("none", dir, "overlay", 0, "lowerdir="+image.path+":"+t.TempDir()))
		t.Cleanup(func() { must(t, mountutil.UnmountRetry(dir)) })
		on := withImages(imageStore{path: dir})
		if name == backend.Aufs {
			_, err := reopen(filepath.Join(t.TempDir(), "home"), name, on)
			wants(t, err, store.ErrIncompatibleFS, dir, "as a branch")
		}
		s := newStore(t, backend.Auto, on)
		s.create(t, "middle", "container")
		sameNames(t, s.see(t, "container").Names(), "d", "d/h", "e", "f", "link", "new", "x", "x/link")
		if got := s.inner.Backend.Name(); got != backend.Overlay {
			t.Errorf("it mounts with %s", got)
		}
		image.unchanged(t)
	})
}
