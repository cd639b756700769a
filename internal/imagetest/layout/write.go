package layout

import (
	"bytes"
	_ "crypto/sha256" // makes the digests
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Writer makes a layout.
type Writer struct{ dir string }

// Create begins a layout in dir, which must not exist.
func Create(dir string) (*Writer, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(blobs(dir), 0o755); err != nil {
		return nil, err
	}
	version := v1.ImageLayout{Version: v1.ImageLayoutVersion}
	return &Writer{dir}, writeJSON(filepath.Join(dir, v1.ImageLayoutFile), version)
}

// Layer adds the archive that write writes. Finish makes it a part of the image.
func (w *Writer) Layer(write func(io.Writer) error) (v1.Descriptor, error) {
	return w.blob(v1.MediaTypeImageLayer, write)
}

// Finish makes an image of the layers, the lowest first. It fills in the diff
// IDs of the config.
func (w *Writer) Finish(config v1.Image, layers []v1.Descriptor) error {
	config.RootFS = v1.RootFS{Type: "layers"}
	for _, layer := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
	}
	described, err := w.jsonBlob(v1.MediaTypeImageConfig, config)
	if err != nil {
		return err
	}
	manifest, err := w.jsonBlob(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    described,
		Layers:    layers,
	})
	if err != nil {
		return err
	}
	return writeJSON(filepath.Join(w.dir, v1.ImageIndexFile), v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{manifest},
	})
}

// jsonBlob adds a value as JSON.
func (w *Writer) jsonBlob(mediaType string, value any) (v1.Descriptor, error) {
	return w.blob(mediaType, func(out io.Writer) error { return json.NewEncoder(out).Encode(value) })
}

// blob adds a blob with the content that write writes.
func (w *Writer) blob(mediaType string, write func(io.Writer) error) (v1.Descriptor, error) {
	// The blob's name is known only at its end.
	f, err := os.CreateTemp(w.dir, "blob-")
	if err != nil {
		return v1.Descriptor{}, err
	}
	digester := digest.Canonical.Digester()
	err = write(io.MultiWriter(f, digester.Hash()))
	size, serr := f.Seek(0, io.SeekCurrent)
	// Everybody who can enter the layout may read the blob.
	if err := errors.Join(err, serr, f.Chmod(0o644), f.Close()); err != nil {
		return v1.Descriptor{}, errors.Join(err, os.Remove(f.Name()))
	}
	described := v1.Descriptor{MediaType: mediaType, Digest: digester.Digest(), Size: size}
	return described, os.Rename(f.Name(), blobPath(w.dir, described.Digest))
}

// writeJSON writes a value to a file as JSON.
func writeJSON(path string, value any) error {
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// blobs returns the directory of a layout's blobs.
func blobs(dir string) string {
	return filepath.Join(dir, v1.ImageBlobsDir, digest.Canonical.String())
}

// blobPath returns the path of a blob. All digests here are SHA-256.
func blobPath(dir string, d digest.Digest) string { return filepath.Join(blobs(dir), d.Encoded()) }
