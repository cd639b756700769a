//go:build linux

package imagetest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/types"
	"golang.org/x/sys/unix"

	"github.com/seed-642172e2/aufs"
)

// TestAdditionalImageStore does with an image in an additional image store what the storage library's own tests do (tests/stores.bats), and
// what else programs do with images.
func TestAdditionalImageStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backend string) {
		for how, readOnly := range map[string]bool{"writable": false, "read-only": true} {
			t.Run(how, func(t *testing.T) { testImageStore(t, backend, readOnly) })
		}
	})
}

func testImageStore(t *testing.T, backend string, readOnly bool) {
	root, owned := t.TempDir(), t.TempDir()
	owner := openStore(t, owned, backend)
	image := putTwoLayers(t, owner)
	want := archiveOf(t, owner, image.TopLayer)
	_, err := owner.Shutdown(false)
	must(t, err)
	owner.Free()
	// The library remembers that this process has locked the store for writing, by its path.
	graph := filepath.Join(owned, "images")
	must(t, os.Rename(filepath.Join(owned, "graph"), graph))
	before := everything(t, graph)
	if readOnly {
		must(t, errors.Join(unix.Mount(graph, graph, "", unix.MS_BIND, ""), unix.Mount("", graph, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")))
		t.Cleanup(func() { must(t, unix.Unmount(graph, 0)) })
	}
	store, err := getStore(root, nil, "aufs", backendOption(backend), "aufs.imagestore="+graph)
	must(t, err)
	unmountAfterFailure(t, store)

	found, err := store.Image("image")
	must(t, err)
	if !found.ReadOnly || found.TopLayer != image.TopLayer {
		t.Errorf("the image is %+v", found)
	}
	if got := archiveOf(t, store, image.TopLayer); !bytes.Equal(got, want) {
		t.Error("the layer's archive is another one")
	}
	testImageStoreRefuses(t, store, image)
	testImageStoreMounts(t, store, image)
	testImageStoreLayers(t, store, image)
	testImageStoreContainers(t, store, image)
	testImageStoreChecks(t, store, filepath.Join(root, "graph", "aufs"))
	if readOnly {
		must(t, unix.Mount("", graph, "", unix.MS_BIND|unix.MS_REMOUNT, ""))
	}
	if after := everything(t, graph); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the image store was\n%v\nand is\n%v", before, after)
	}
}

// testImageStoreRefuses tries to delete and to change what is in the image store.
func testImageStoreRefuses(t *testing.T, store storage.Store, image *storage.Image) {
	t.Helper()
	if _, err := store.DeleteImage(image.ID, true); err == nil {
		t.Error("the image was deleted")
	}
	if err := store.DeleteLayer(image.TopLayer); err == nil {
		t.Error("the layer was deleted")
	}
	if _, err := store.ApplyDiff(image.TopLayer, bytes.NewReader(nil)); err == nil {
		t.Error("a diff was applied to the layer")
	}
	if _, err := store.Mount(image.TopLayer, ""); err == nil {
		t.Error("the layer was mounted writable")
	}
}

// testImageStoreMounts mounts the image read-only, as far as the library does that. Up to now its versions look for the layer in the store
// itself alone; the driver's own tests mount such layers.
func testImageStoreMounts(t *testing.T, store storage.Store, image *storage.Image) {
	t.Helper()
	dir, err := store.MountImage(image.ID, []string{"ro"}, "")
	if errors.Is(err, storage.ErrLayerUnknown) {
		return
	}
	must(t, err)
	if _, err := os.Stat(filepath.Join(dir, "etc/passwd")); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing to the mount: %v", err)
	}
	_, err = store.UnmountImage(image.ID, false)
	must(t, err)
}

// testImageStoreLayers makes a layer, an image and a container on top of the image.
func testImageStoreLayers(t *testing.T, store storage.Store, image *storage.Image) {
	t.Helper()
	layer, err := store.CreateLayer("", image.TopLayer, nil, "", true, nil)
	must(t, err)
	dir, err := store.Mount(layer.ID, "")
	must(t, err)
	must(t, errors.Join(os.Remove(filepath.Join(dir, "etc/passwd")), os.WriteFile(filepath.Join(dir, "etc/group"), []byte("group"), 0o600)))
	_, err = store.Unmount(layer.ID, false)
	must(t, err)
	changes, err := store.Changes("", layer.ID)
	if got := fmt.Sprint(changes); err != nil || got != "[{/etc C} {/etc/group A} {/etc/passwd D}]" && got != "[C /etc A /etc/group D /etc/passwd]" {
		t.Errorf("the changes are %v, %v", changes, err)
	}
	upper, err := store.CreateImage("", []string{"upper"}, layer.ID, "", nil)
	must(t, err)
	c, err := store.CreateContainer("", nil, upper.ID, "", "", nil)
	must(t, err)
	dir = mount(t, store, c)
	_, gone := os.Stat(filepath.Join(dir, "etc/passwd"))
	_, made := os.Stat(filepath.Join(dir, "etc/group"))
	if !errors.Is(gone, fs.ErrNotExist) || made != nil {
		t.Errorf("%v, %v", gone, made)
	}
	unmount(t, store, c)
	must(t, store.DeleteContainer(c.ID))
	// The library also tries to delete the layers below, without a look at which store they are in.
	if _, err = store.DeleteImage(upper.ID, true); !errors.Is(err, storage.ErrLayerUnknown) {
		must(t, err)
	}
	if store.Exists(layer.ID) || !store.Exists(image.TopLayer) {
		t.Error("the wrong layers are there")
	}
}

// testImageStoreContainers makes containers of the image, one of them with other ids.
func testImageStoreContainers(t *testing.T, store storage.Store, image *storage.Image) {
	t.Helper()
	maps := []idtools.IDMap{{ContainerID: 0, HostID: 100_000, Size: 5000}}
	for want, options := range map[uint32]*storage.ContainerOptions{
		0: nil, 100_000: {IDMappingOptions: types.IDMappingOptions{UIDMap: maps, GIDMap: maps}},
	} {
		c, err := store.CreateContainer("", nil, image.ID, "", "", options)
		must(t, err)
		dir := mount(t, store, c)
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(dir, "etc/passwd"), &st))
		if st.Uid != want {
			t.Errorf("the file belongs to %d, and not to %d", st.Uid, want)
		}
		must(t, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("own"), 0o600))
		unmount(t, store, c)
		changes, err := store.Changes("", c.LayerID)
		if err != nil || len(changes) != 2 {
			t.Errorf("the container's changes are %v, %v", changes, err)
		}
	}
}

// testImageStoreChecks has the library check and repair the store, has the driver check it, and deletes everything in
// it.
func testImageStoreChecks(t *testing.T, store storage.Store, home string) {
	t.Helper()
	for range 2 {
		report, err := store.Check(storage.CheckEverything())
		must(t, err)
		if n := len(report.ROLayers) + len(report.Images) + len(report.ROImages) + len(report.Containers); n > 0 {
			t.Errorf("the library finds %+v", report)
		}
		// Of each layer on top of one in an image store, the library says that the parent is missing: it looks for parents before it has
		// listed the layers of image stores.
		for _, errs := range report.Layers {
			for _, err := range errs {
				if !errors.Is(err, storage.ErrLayerMissing) {
					t.Error(err)
				}
			}
		}
		_ = store.Repair(report, storage.RepairEverything()) // It cannot delete these layers, which containers use.
		if problems, err := aufs.Check(t.Context(), home); err != nil || len(problems) > 0 {
			t.Errorf("the driver finds %v, %v", problems, err)
		}
	}
	containers, err := store.Containers()
	must(t, err)
	for _, c := range containers {
		must(t, store.DeleteContainer(c.ID))
	}
	layers, err := store.Layers()
	must(t, err)
	for _, l := range layers {
		if !l.ReadOnly {
			must(t, store.DeleteLayer(l.ID))
		}
	}
	_, err = store.Shutdown(false)
	must(t, err)
	store.Free()
	if problems, err := aufs.Check(t.Context(), home); err != nil || len(problems) > 0 {
		t.Errorf("the driver finds %v, %v", problems, err)
	}
}

// everything describes the files of a tree, with their times of change.
func everything(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		err = unix.Lstat(path, &st)
		all[path] = fmt.Sprintf("%o %d:%d %d %d %v %v", st.Mode, st.Uid, st.Gid, st.Size, st.Ino, st.Mtim, st.Ctim)
		return err
	}))
	return all
}
