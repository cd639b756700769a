//go:build linux

package imagetest

import (
	"bytes"
	"io"
	"testing"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
)

// TestTemplate has the storage library make a layer from another one, and return and check its
// archive.
func TestTemplate(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backend string) {
		store := openStore(t, t.TempDir(), backend)
		layer := putLayer(t, store)
		copied, err := store.CreateLayer("", "", nil, "", false, &storage.LayerOptions{TemplateLayer: layer.ID})
		must(t, err)
		want, got := archiveOf(t, store, layer.ID), archiveOf(t, store, copied.ID)
		if !bytes.Equal(got, want) || !bytes.Contains(got, []byte("content")) {
			t.Errorf("the archive of the layer is %q, and that of its copy %q", want, got)
		}
		report, err := store.Check(storage.CheckEverything())
		must(t, err)
		if len(report.Layers[copied.ID]) > 0 {
			t.Errorf("the library says of the copy: %v", report.Layers[copied.ID])
		}
		_, err = store.Shutdown(true)
		must(t, err)
		store.Free()
	})
}

// archiveOf returns the archive of a layer, not compressed.
func archiveOf(t *testing.T, store storage.Store, id string) []byte {
	t.Helper()
	uncompressed := archive.Uncompressed
	r, err := store.Diff("", id, &storage.DiffOptions{Compression: &uncompressed})
	must(t, err)
	content, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	return content
}
