//go:build linux

package imagetest

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/types"
	"github.com/seed-642172e2/aufs"
	"golang.org/x/sys/unix"
)

// TestStoreCheck has the storage library check and repair stores on this driver. After the repair, neither the library's check nor the
// driver's may find a problem.
func TestStoreCheck(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backend string) {
		for _, damage := range []struct {
			name string
			do   func(t *testing.T, home string, layer *storage.Layer)
			// gone: the library must remove the layer.
			gone bool
		}{
			{"none", func(*testing.T, string, *storage.Layer) {}, false},
			{"a file that is gone", func(t *testing.T, home string, layer *storage.Layer) {
				t.Helper()
				must(t, os.Remove(filepath.Join(home, "diff", layer.ID, "f")))
			}, true},
			{"all files that are gone", func(t *testing.T, home string, layer *storage.Layer) {
				t.Helper()
				must(t, os.RemoveAll(filepath.Join(home, "diff", layer.ID)))
			}, true},
			{"a layer that only the driver has", func(t *testing.T, home string, _ *storage.Layer) {
				t.Helper()
				d, err := aufs.Init(home, graphdriver.Options{DriverOptions: []string{backendOption(backend)}})
				must(t, err)
				must(t, d.Create("stray", "", nil))
			}, false},
		} {
			t.Run(damage.name, func(t *testing.T) { checkStore(t, backend, damage.do, damage.gone) })
		}
	})
}

func checkStore(t *testing.T, backend string, damage func(*testing.T, string, *storage.Layer), gone bool) {
	t.Helper()
	root := t.TempDir()
	store := openStore(t, root, backend)
	layer := putLayer(t, store)
	home := filepath.Join(root, "graph", "aufs")
	damage(t, home, layer)
	report, err := store.Check(storage.CheckEverything())
	must(t, err)
	if found := len(report.Layers[layer.ID]) > 0; found != gone {
		t.Errorf("the library says of the layer: %v", report.Layers[layer.ID])
	}
	for _, err := range store.Repair(report, storage.RepairEverything()) {
		t.Error(err)
	}
	report, err = store.Check(storage.CheckEverything())
	must(t, err)
	if n := len(report.Layers) + len(report.Images) + len(report.Containers); n > 0 {
		t.Errorf("after its repair the library finds %+v", report)
	}
	problems, err := aufs.Check(t.Context(), home)
	if err != nil || len(problems) > 0 {
		t.Errorf("the driver finds %v, %v", problems, err)
	}
	if store.Exists(layer.ID) == gone {
		t.Errorf("the layer exists: %v", !gone)
	}
	if _, err := os.Lstat(filepath.Join(home, "layers", "stray")); err == nil {
		t.Error("the layer that only the driver has is still there")
	}
	_, err = store.Shutdown(true)
	must(t, err)
	store.Free()
}

// putLayer puts a layer into a store.
func putLayer(t *testing.T, store storage.Store) *storage.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644, Size: 7}))
	_, err := w.Write([]byte("content"))
	must(t, err)
	must(t, w.Close())
	layer, _, err := store.PutLayer("", "", nil, "", false, nil, &b)
	must(t, err)
	_, err = store.CreateImage("", []string{"image"}, layer.ID, "", nil)
	must(t, err)
	return layer
}

// TestStoreCheckOfMappedContainers has the storage library check a store with a container whose ids are mapped. If the
// driver cannot shift owners, the library makes a copy of the image's topmost layer with other owners for the
// container; that copy still belongs to the image. Files of root in the image belong to the container's root.
func TestStoreCheckOfMappedContainers(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		store := openStore(t, root, backend)
		image := putTwoLayers(t, store)
		maps := []idtools.IDMap{{ContainerID: 0, HostID: 100_000, Size: 5000}}
		c, err := store.CreateContainer("", nil, image.ID, "", "", &storage.ContainerOptions{
			IDMappingOptions: types.IDMappingOptions{UIDMap: maps, GIDMap: maps},
		})
		must(t, err)
		dir := mount(t, store, c)
		for _, path := range []string{".", "bin", "bin/sh", "bin/b", "a", "etc"} {
			var st unix.Stat_t
			must(t, unix.Lstat(filepath.Join(dir, path), &st))
			if st.Uid != 100_000 || st.Gid != 100_000 {
				t.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
			}
		}
		unmount(t, store, c)
		report, err := store.Check(storage.CheckEverything())
		must(t, err)
		if n := len(report.Layers) + len(report.Images) + len(report.Containers); n > 0 {
			t.Errorf("the library finds %+v", report)
		}
		changes, err := store.Changes("", c.LayerID)
		if err != nil || len(changes) > 0 {
			t.Errorf("the container's changes are %v, %v", changes, err)
		}
		empty(t, store)
	})
}

// putTwoLayers puts an image of two layers into a store.
func putTwoLayers(t *testing.T, store storage.Store) *storage.Image {
	t.Helper()
	parent := ""
	for _, headers := range [][]tar.Header{
		{
			{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
			{Name: "bin/sh", Typeflag: tar.TypeReg, Mode: 0o4755},
			{Name: "bin/b", Typeflag: tar.TypeLink, Mode: 0o4755, Linkname: "bin/sh"},
			{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
			{Name: "a", Typeflag: tar.TypeLink, Mode: 0o4755, Linkname: "bin/sh"},
		},
		{{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			h.ModTime = time.Unix(1_000_000_000, 0)
			must(t, w.WriteHeader(&h))
		}
		must(t, w.Close())
		layer, _, err := store.PutLayer("", parent, nil, "", false, nil, &b)
		must(t, err)
		parent = layer.ID
	}
	image, err := store.CreateImage("", []string{"image"}, parent, "", nil)
	must(t, err)
	return image
}
