//go:build linux

package imagetest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestLibraryDeletesTrash has the storage library, which recovers from crashes when it reads its list of layers again, delete
// what a process left of a layer that it was removing.
func TestLibraryDeletesTrash(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	for _, backend := range backends(t) {
		t.Run(backend, func(t *testing.T) {
			noHostConfig(t)
			root := t.TempDir()
			store := openStore(t, root, backend)
			putLayer(t, store)
			d, err := store.GraphDriver()
			must(t, err)
			must(t, d.Create("extra", "", nil))
			clean, err := d.DeferredRemove("extra")
			must(t, err)
			tmp := filepath.Join(root, "graph", "aufs", "tmp")
			must(t, os.MkdirAll(filepath.Join(tmp, "temp-dir-77", "0"), 0o700))
			must(t, os.WriteFile(filepath.Join(tmp, "lock-77"), nil, 0o600))
			// It reads the list again because that has changed.
			later := time.Now().Add(time.Hour)
			must(t, os.Chtimes(filepath.Join(root, "graph", "aufs-layers", "layers.json"), later, later))
			_, err = store.Layers()
			must(t, err)
			left, err := os.ReadDir(tmp)
			if err != nil || len(left) > 0 {
				t.Errorf("%v, %v", left, err)
			}
			// This process's own trash is gone, too: such locks are those of a process.
			must(t, clean())
			empty(t, store)
		})
	}
}
