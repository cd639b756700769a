//go:build linux

package imagetest

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/seed-642172e2/aufs/internal/imagetest/layout"
)

// sameCopy copies an image from the store into the directory dir, and fails the
// test unless the copy equals the wanted image, byte for byte.
func sameCopy(t *testing.T, store storage.Store, name string, want *layout.Image, dir string) {
	t.Helper()
	copyImage(t, inLayout(t, dir), inStore(t, store, name))
	got, err := layout.Open(dir)
	must(t, err)
	if !slices.Equal(digests(got.Manifest.Layers), digests(want.Manifest.Layers)) {
		t.Errorf("the layers are\n %v, and should be\n %v", digests(got.Manifest.Layers), digests(want.Manifest.Layers))
	}
	if got.Manifest.Config.Digest != want.Manifest.Config.Digest || got.Digest != want.Digest {
		t.Errorf("the config is %s and the manifest %s, and should be %s and %s",
			got.Manifest.Config.Digest, got.Digest, want.Manifest.Config.Digest, want.Digest)
	}
	must(t, got.Verify())
}

// digests returns the digests of blobs.
func digests(blobs []v1.Descriptor) []string {
	var all []string
	for _, blob := range blobs {
		all = append(all, blob.Digest.String())
	}
	return all
}

// byteForByte fails the test unless the library can put the archives of the
// store's layers together again from the data that it kept of them, with the
// files that the driver's DiffGetter reads. Otherwise the library would make
// other archives of the layers.
func byteForByte(t *testing.T, store storage.Store) {
	t.Helper()
	driver, err := store.GraphDriver()
	must(t, err)
	if _, ok := driver.(graphdriver.DiffGetterDriver); !ok {
		t.Error("the driver has no DiffGetter")
	}
	layers, err := store.Layers()
	must(t, err)
	for _, l := range layers {
		kept := filepath.Join(store.GraphRoot(), driver.String()+"-layers", l.ID+".tar-split.gz")
		if _, err := os.Stat(kept); err != nil {
			t.Error(err)
		}
	}
}

// commit makes a layout in dir. Its image has the layers of the container's
// image and, on top of them, the container's changes.
func commit(t *testing.T, store storage.Store, c *storage.Container, image *layout.Image, dir string) {
	t.Helper()
	w, err := layout.Create(dir)
	must(t, err)
	var layers []v1.Descriptor
	for _, l := range image.Manifest.Layers {
		blob, err := image.Blob(l.Digest)
		must(t, err)
		layers = append(layers, addLayer(t, w, blob))
	}
	layers = append(layers, addLayer(t, w, diff(t, store, c)))
	config := image.Config
	config.History = append(slices.Clone(config.History), v1.History{CreatedBy: "sh"})
	must(t, w.Finish(config, layers))
}

// diff returns an archive of a container's changes.
func diff(t *testing.T, store storage.Store, c *storage.Container) io.ReadCloser {
	t.Helper()
	uncompressed := archive.Uncompressed
	changes, err := store.Diff("", c.LayerID, &storage.DiffOptions{Compression: &uncompressed})
	must(t, err)
	return changes
}

// addLayer adds a layer from an archive and closes the archive.
func addLayer(t *testing.T, w *layout.Writer, archive io.ReadCloser) v1.Descriptor {
	t.Helper()
	layer, err := w.Layer(func(out io.Writer) error {
		_, err := io.Copy(out, archive)
		return err
	})
	must(t, err)
	must(t, archive.Close())
	return layer
}
