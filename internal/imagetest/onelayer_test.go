//go:build linux

package imagetest

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMountImageOfOneLayer mounts an image of one layer, as "podman image mount" does. Nobody can write to that mount. A container
// without a layer below its own is as writable as any other.
func TestMountImageOfOneLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		store := openStore(t, root, backend)
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		must(t, w.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644}))
		must(t, w.Close())
		layer, _, err := store.PutLayer("", "", nil, "", false, nil, &archive)
		must(t, err)
		image, err := store.CreateImage("", nil, layer.ID, "", nil)
		must(t, err)
		for range 2 {
			dir, err := store.MountImage(image.ID, []string{"nodev"}, "")
			must(t, err)
			again, err := store.MountImage(image.ID, nil, "")
			if err != nil || again != dir {
				t.Errorf("it is mounted at %s, and again at %s, %v", dir, again, err)
			}
			if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); !errors.Is(err, unix.EROFS) {
				t.Errorf("writing to the image: %v", err)
			}
			for _, want := range []bool{true, false} {
				if mounted, err := store.UnmountImage(image.ID, false); err != nil || mounted != want {
					t.Errorf("after an unmount it is mounted: %t, %v", mounted, err)
				}
			}
			noMounts(t, filepath.Join(root, "graph/aufs/mnt"))
		}
		c, err := store.CreateContainer("", nil, "", "", "", nil)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(mount(t, store, c), "new"), nil, 0o600))
		unmount(t, store, c)
		empty(t, store)
	})
}
