//go:build linux

package imagetest

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/idtools"
	"golang.org/x/sys/unix"
)

// userVariable says, in the environment of a child process, which store it is to use: its root, its backend and an image.
const userVariable = "AUFS_TEST_STORE_USER"

// TestOthersUseTheStoreWhileALayerIsUnpacked has another process make a container, mount it and remove it, while the
// unpacking of a layer waits for the second half of its archive.
func TestOthersUseTheStoreWhileALayerIsUnpacked(t *testing.T) {
	if args := strings.Split(os.Getenv(userVariable), "|"); len(args) == 3 {
		store := openStore(t, args[0], args[1])
		c := container(t, store, args[2])
		must(t, os.WriteFile(filepath.Join(mount(t, store, c), "f"), []byte("f"), 0o600))
		unmount(t, store, c)
		must(t, store.DeleteContainer(c.ID))
		return
	}
	if !libraryStages {
		t.Skip("this version of the storage library unpacks layers with the store locked")
	}
	forEachBackend(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		store := openStore(t, root, backend)
		base, _, err := store.PutLayer("", "", nil, "", false, nil, bytes.NewReader(oneFile(t, "base")))
		must(t, err)
		image, err := store.CreateImage("", nil, base.ID, "", nil)
		must(t, err)
		content := oneFile(t, strings.Repeat("content", 10_000))
		r, w := io.Pipe()
		type put struct {
			layer *storage.Layer
			err   error
		}
		done := make(chan put)
		go func() {
			layer, _, err := store.PutLayer("", base.ID, nil, "", false, nil, r)
			done <- put{layer, err}
		}()
		_, err = w.Write(content[:len(content)/2])
		must(t, err)
		c := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()[:strings.Index(t.Name(), "/")]+"$", "-test.timeout=2m")
		c.Env = append(os.Environ(), userVariable+"="+strings.Join([]string{root, backend, image.ID}, "|"))
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		_, err = w.Write(content[len(content)/2:])
		must(t, err)
		must(t, w.Close())
		got := <-done
		must(t, got.err)
		diff, err := store.Diff("", got.layer.ID, nil)
		must(t, err)
		again, err := io.ReadAll(diff)
		must(t, err)
		must(t, diff.Close())
		if !bytes.Equal(again, content) {
			t.Errorf("%d bytes come back, and there were %d", len(again), len(content))
		}
		must(t, store.DeleteLayer(got.layer.ID))
		empty(t, store)
		noLayers(t, filepath.Join(root, "graph", "aufs"))
	})
}

// oneFile is an archive with one file.
func oneFile(t *testing.T, content string) []byte {
	t.Helper()
	return tarOf(t, file{Header: tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644}, content: []byte(content)})
}

// TestLayersWithOtherOwners puts layers on top of layers that have other owners. If the driver cannot shift owners, the
// library changes the owners in a layer before it has the driver fill the layer.
func TestLayersWithOtherOwners(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backend string) {
		store := openStore(t, t.TempDir(), backend)
		nothing, _, err := store.PutLayer("", "", nil, "", false, nil, bytes.NewReader(tarOf(t)))
		must(t, err)
		base, _, err := store.PutLayer("", "", nil, "", false, nil, bytes.NewReader(oneFile(t, "base")))
		must(t, err)
		maps := []idtools.IDMap{{ContainerID: 0, HostID: 100_000, Size: 5000}}
		driver, err := store.GraphDriver()
		must(t, err)
		shifts := driver.SupportsShifting(maps, maps)
		root := file{Header: tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o711, Uid: 7, Gid: 7}}
		g := file{Header: tar.Header{Name: "g", Typeflag: tar.TypeReg, Mode: 0o644, Uid: 1, Gid: 1}, content: []byte("g")}
		for _, parent := range []string{nothing.ID, base.ID} {
			for _, archive := range [][]file{{g}, {root, g}} {
				var options storage.LayerOptions
				owners := &options.IDMappingOptions
				owners.UIDMap, owners.GIDMap = maps, maps
				layer, _, err := store.PutLayer("", parent, nil, "", false, &options, bytes.NewReader(tarOf(t, archive...)))
				must(t, err)
				dir, err := store.Mount(layer.ID, "")
				must(t, err)
				want := map[string]uint32{".": 100_000, "g": 100_001}
				// The older library leaves the root directory alone, unless the layer has something already.
				if len(archive) > 1 && (libraryAppliesRoot || parent == base.ID && !shifts) {
					want["."] = 100_007
				}
				if parent == base.ID {
					want["f"] = 100_000
				}
				for path, id := range want {
					if shifts {
						// Only a mount with these maps shows the ids on the host. This one shows the ids inside.
						id -= 100_000
					}
					var st unix.Stat_t
					must(t, unix.Lstat(filepath.Join(dir, path), &st))
					if st.Uid != id || st.Gid != id {
						t.Errorf("%s belongs to %d:%d, and not to %d", path, st.Uid, st.Gid, id)
					}
				}
				_, err = store.Unmount(layer.ID, true)
				must(t, err)
				must(t, store.DeleteLayer(layer.ID))
			}
		}
		must(t, store.DeleteLayer(nothing.ID))
		must(t, store.DeleteLayer(base.ID))
		_, err = store.Shutdown(true)
		must(t, err)
		store.Free()
	})
}
