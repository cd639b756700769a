//go:build linux

package imagetest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRecoveryOfTheLibrary has the storage library read its list of layers. The library then deletes what it takes for rubbish.
// At that time the files of a removed layer still wait for their deletion, and something is mounted among them.
func TestRecoveryOfTheLibrary(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		store := openStore(t, root, backend)
		putLayer(t, store)
		d, err := store.GraphDriver()
		must(t, err)
		must(t, d.Create("extra", "", nil))
		precious := filepath.Join(root, "precious")
		must(t, os.MkdirAll(precious, 0o700))
		must(t, os.WriteFile(filepath.Join(precious, "f"), []byte("data"), 0o600))
		mnt := filepath.Join(root, "graph", "aufs", "diff", "extra", "mnt")
		must(t, os.Mkdir(mnt, 0o700))
		must(t, unix.Mount(precious, mnt, "", unix.MS_BIND, ""))
		clean, err := d.DeferredRemove("extra")
		must(t, err)
		later := time.Now().Add(time.Hour)
		must(t, os.Chtimes(filepath.Join(root, "graph", "aufs-layers", "layers.json"), later, later))
		_, err = store.Layers()
		must(t, err)
		must(t, clean())
		content, err := os.ReadFile(filepath.Join(precious, "f"))
		if err != nil || string(content) != "data" {
			t.Errorf("what was mounted there is %q, %v", content, err)
		}
		empty(t, store)
		noLayers(t, filepath.Join(root, "graph", "aufs"))
	})
}
