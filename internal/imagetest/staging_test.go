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
)

// userVariable says, in the environment of a child process, which store it is to use: its root, its backend and an image.
const userVariable = "AUFS_TEST_STORE_USER"

// TestOthersUseTheStoreWhileALayerIsUnpacked has another process make a container, mount it and remove it, while a layer is unpacked whose
// archive does not come to its end.
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
