//go:build linux

package imagetest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/types"
	"golang.org/x/sys/unix"
)

// ownedBy makes an image with a file f that belongs to 3:4, and returns its id.
func ownedBy(t *testing.T, store storage.Store) string {
	t.Helper()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for _, h := range []tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o644, Uid: 3, Gid: 4},
	} {
		must(t, w.WriteHeader(&h))
	}
	must(t, w.Close())
	layer, _, err := store.PutLayer("", "", nil, "", false, nil, &content)
	must(t, err)
	image, err := store.CreateImage("", nil, layer.ID, "", nil)
	must(t, err)
	return image.ID
}

// withMaps makes a container of an image. On the host, the container's root has the id first.
func withMaps(t *testing.T, store storage.Store, image string, first int) *storage.Container {
	t.Helper()
	maps := []idtools.IDMap{{HostID: first, Size: 65536}}
	c, err := store.CreateContainer("", nil, image, "", "", &storage.ContainerOptions{
		IDMappingOptions: types.IDMappingOptions{UIDMap: maps, GIDMap: maps},
	})
	must(t, err)
	return c
}

// owner returns the owner of a file in a mount of a container.
func owner(t *testing.T, store storage.Store, c *storage.Container, name string) string {
	t.Helper()
	dir := mount(t, store, c)
	defer unmount(t, store, c)
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(dir, name), &st))
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// TestMappedContainers makes containers with user namespaces of their own, as podman and buildah do. If the driver can
// shift owners, nothing is copied.
func TestMappedContainers(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		store := openStore(t, root, backend)
		image := ownedBy(t, store)
		driver, err := store.GraphDriver()
		must(t, err)
		shifts := driver.SupportsShifting(nil, nil)
		if shifts && backend == "aufs" {
			t.Error("aufs shifts owners")
		}
		for _, first := range []int{100_000, 200_000} {
			c := withMaps(t, store, image, first)
			if got, want := owner(t, store, c, "d/f"), fmt.Sprintf("%d:%d", first+3, first+4); got != want {
				t.Errorf("the file belongs to %s and not to %s", got, want)
			}
			if got, want := owner(t, store, c, "."), fmt.Sprintf("%d:%d", first, first); got != want {
				t.Errorf("the root belongs to %s and not to %s", got, want)
			}
			dir := mount(t, store, c)
			must(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o600))
			must(t, errors.Join(os.Lchown(filepath.Join(dir, "new"), first+5, first+6), os.Chmod(filepath.Join(dir, "d/f"), 0o600)))
			unmount(t, store, c)
			committed := ownersOf(t, store, c)
			for name, want := range map[string]string{"new": "5:6", "d/f": "3:4"} {
				if got := committed[name]; got != want {
					t.Errorf("in the archive, %s belongs to %s and not to %s", name, got, want)
				}
			}
		}
		i, err := store.Image(image)
		must(t, err)
		if copies := len(i.MappedTopLayers); shifts && copies > 0 || !shifts && copies != 2 {
			t.Errorf("shifting: %v, and there are %d copies of the image", shifts, copies)
		}
		empty(t, store)
	})
}

// ownersOf returns the owners in the archive of a container's layer.
func ownersOf(t *testing.T, store storage.Store, c *storage.Container) map[string]string {
	t.Helper()
	none := storage.DiffOptions{}
	archive, err := store.Diff("", c.LayerID, &none)
	must(t, err)
	defer archive.Close()
	owners := map[string]string{}
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return owners
		}
		must(t, err)
		owners[h.Name] = fmt.Sprintf("%d:%d", h.Uid, h.Gid)
	}
}

// TestContainersFromBeforeShifting makes a container with a store that cannot shift owners, and mounts it with one that can.
func TestContainersFromBeforeShifting(t *testing.T) {
	if os.Getuid() != 0 || !slices.Contains(backends(t), "aufs") {
		t.Skip("the backend that cannot shift owners is aufs")
	}
	noHostConfig(t)
	root := t.TempDir()
	store := openStore(t, root, "aufs")
	image := ownedBy(t, store)
	c := withMaps(t, store, image, 100_000)
	if got := owner(t, store, c, "d/f"); got != "100003:100004" {
		t.Errorf("at first, the file belongs to %s", got)
	}
	_, err := store.Shutdown(false)
	must(t, err)
	store.Free()
	store = openStore(t, root, "auto")
	for _, c := range []*storage.Container{c, withMaps(t, store, image, 100_000)} {
		if got := owner(t, store, c, "d/f"); got != "100003:100004" {
			t.Errorf("the file belongs to %s", got)
		}
	}
	empty(t, store)
}
