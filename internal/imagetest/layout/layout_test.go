package layout

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// write makes a layout with a layer of each text.
func write(t *testing.T, texts ...string) *Image {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	w, err := Create(dir)
	must(t, err)
	var layers []v1.Descriptor
	for _, text := range texts {
		layer, err := w.Layer(func(out io.Writer) error {
			_, err := io.WriteString(out, text)
			return err
		})
		must(t, err)
		layers = append(layers, layer)
	}
	must(t, w.Finish(v1.Image{Author: "somebody"}, layers))
	image, err := Open(dir)
	must(t, err)
	return image
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	image := write(t, "one", "two", "one")
	must(t, image.Verify())
	if len(image.Manifest.Layers) != 3 || image.Config.Author != "somebody" {
		t.Errorf("the image is %+v", image)
	}
	blob, err := image.Blob(image.Config.RootFS.DiffIDs[1])
	must(t, err)
	defer blob.Close()
	if text, err := io.ReadAll(blob); err != nil || string(text) != "two" {
		t.Errorf("the second layer is %q, %v", text, err)
	}
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	image := write(t, "one", "two")
	must(t, os.WriteFile(blobPath(image.Dir(), image.Manifest.Layers[0].Digest), []byte("another"), 0o644))
	image.Config.RootFS.DiffIDs = image.Config.RootFS.DiffIDs[:1]
	err := image.Verify()
	for _, word := range []string{"in truth", "has 7 bytes", "layer 2 is not"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("the error is %v, and should say %q", err, word)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
