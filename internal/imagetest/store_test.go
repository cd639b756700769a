//go:build linux

package imagetest

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"github.com/moby/sys/mountinfo"
)

// getStore opens a store in the directory root. pulls holds the keys of
// pull_options, or is nil.
func getStore(root string, pulls map[string]string, driver string, options ...string) (storage.Store, error) {
	return storage.GetStore(storage.StoreOptions{
		GraphRoot:          filepath.Join(root, "graph"),
		RunRoot:            filepath.Join(root, "run"),
		GraphDriverName:    driver,
		GraphDriverOptions: options,
		PullOptions:        pulls,
	})
}

// openStore opens a store on the driver under test.
func openStore(t *testing.T, root, backend string) storage.Store {
	t.Helper()
	return openPullingStore(t, root, backend, nil)
}

// openPullingStore is like openStore, with pull_options.
func openPullingStore(t *testing.T, root, backend string, pulls map[string]string) storage.Store {
	t.Helper()
	store, err := getStore(root, pulls, "aufs", backendOption(backend))
	must(t, err)
	unmountAfterFailure(t, store)
	return store
}

// openOther opens a store on the storage library's overlay driver. If that does
// not work, it uses vfs, which works everywhere.
func openOther(t *testing.T, root string) storage.Store {
	t.Helper()
	store, err := getStore(filepath.Join(root, "overlay"), nil, "overlay")
	for _, unsupported := range []error{
		graphdriver.ErrNotSupported, graphdriver.ErrPrerequisites, graphdriver.ErrIncompatibleFS,
	} {
		if errors.Is(err, unsupported) {
			t.Logf("taking vfs for the other store: %v", err)
			store, err = getStore(filepath.Join(root, "vfs"), nil, "vfs")
			break
		}
	}
	must(t, err)
	unmountAfterFailure(t, store)
	return store
}

// unmountAfterFailure unmounts the layers after a failed test, so that the
// test's directory can be removed.
func unmountAfterFailure(t *testing.T, store storage.Store) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		// The first call unmounts the layers, but returns an error because they
		// were mounted, and does not shut down the driver.
		for range 2 {
			if _, err := store.Shutdown(true); err == nil {
				store.Free()
				return
			}
		}
	})
}

// container makes a container of an image and returns it.
func container(t *testing.T, store storage.Store, image string) *storage.Container {
	t.Helper()
	i, err := store.Image(image)
	must(t, err)
	c, err := store.CreateContainer("", nil, i.ID, "", "", nil)
	must(t, err)
	return c
}

// mount mounts a container.
func mount(t *testing.T, store storage.Store, c *storage.Container) (root string) {
	t.Helper()
	root, err := store.Mount(c.ID, "")
	must(t, err)
	return root
}

// unmount unmounts a container.
func unmount(t *testing.T, store storage.Store, c *storage.Container) {
	t.Helper()
	mounted, err := store.Unmount(c.ID, false)
	must(t, err)
	if mounted {
		t.Errorf("container %s is still mounted", c.ID)
	}
}

// empty deletes everything in a store, and closes it.
func empty(t *testing.T, store storage.Store) {
	t.Helper()
	containers, err := store.Containers()
	must(t, err)
	for _, c := range containers {
		must(t, store.DeleteContainer(c.ID))
	}
	images, err := store.Images()
	must(t, err)
	for _, i := range images {
		_, err := store.DeleteImage(i.ID, true)
		must(t, err)
	}
	layers, err := store.Layers()
	must(t, err)
	for _, l := range layers {
		t.Errorf("layer %s is left", l.ID)
	}
	_, err = store.Shutdown(false)
	must(t, err)
	store.Free()
}

// noLayers fails the test for each entry in a directory of the driver's home
// that holds an entry for each layer. These are all directories but home itself,
// overlay/ and overlay/known/.
func noLayers(t *testing.T, home string) {
	t.Helper()
	must(t, filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		dir := filepath.Dir(path)
		if err == nil && path != home && dir != home &&
			dir != filepath.Join(home, "overlay") && dir != filepath.Join(home, "overlay/known") {
			t.Errorf("%s is left", path)
		}
		return err
	}))
}

// noMounts fails the test if anything is mounted at or under dir.
func noMounts(t *testing.T, dir string) {
	t.Helper()
	resolved, err := filepath.EvalSymlinks(dir)
	must(t, err)
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(resolved))
	must(t, err)
	for _, m := range mounts {
		t.Errorf("%s (%s) is still mounted", m.Mountpoint, m.FSType)
	}
}
