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

// sameCopy copies an image out of the store into the directory dir, and fails
// the test unless it is the one wanted, byte for byte.
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

// digests are those of blobs.
func digests(blobs []v1.Descriptor) []string {
	var all []string
	for _, blob := range blobs {
		all = append(all, blob.Digest.String())
	}
	return all
}

// byteForByte fails the test unless the store's layers are put together again
// from what the library has kept of their archives, and from files that the
// driver's DiffGetter reads: else it would make other archives of them.
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

// commit makes a layout in dir with the image that the container was made of
// and, on top, what the container has changed.
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

// diff is an archive of what a container has changed.
func diff(t *testing.T, store storage.Store, c *storage.Container) io.ReadCloser {
	t.Helper()
	uncompressed := archive.Uncompressed
	changes, err := store.Diff("", c.LayerID, &storage.DiffOptions{Compression: &uncompressed})
	must(t, err)
	return changes
}

// addLayer reads an archive and closes it.
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
