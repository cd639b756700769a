package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Image is the image of a layout.
type Image struct {
	// Digest is the digest of the manifest.
	Digest   digest.Digest
	Manifest v1.Manifest
	Config   v1.Image
	dir      string
}

// Open reads the layout's description of its image.
func Open(dir string) (*Image, error) {
	var index v1.Index
	if err := readJSON(filepath.Join(dir, v1.ImageIndexFile), &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) != 1 {
		return nil, fmt.Errorf("%s has %d images, and should have one", dir, len(index.Manifests))
	}
	i := &Image{Digest: index.Manifests[0].Digest, dir: dir}
	if err := readJSON(blobPath(dir, i.Digest), &i.Manifest); err != nil {
		return nil, err
	}
	return i, readJSON(blobPath(dir, i.Manifest.Config.Digest), &i.Config)
}

// Dir returns the layout's directory.
func (i *Image) Dir() string { return i.dir }

// Blob opens one of the image's blobs.
func (i *Image) Blob(d digest.Digest) (io.ReadCloser, error) { return os.Open(blobPath(i.dir, d)) }

// Verify reads the whole image, and returns an error for everything that
// differs from its description.
func (i *Image) Verify() error {
	described := append([]v1.Descriptor{i.Manifest.Config}, i.Manifest.Layers...)
	errs := []error{i.verify(i.Digest)}
	for n, layer := range i.Manifest.Layers {
		if n >= len(i.Config.RootFS.DiffIDs) || i.Config.RootFS.DiffIDs[n] != layer.Digest {
			errs = append(errs, fmt.Errorf("layer %d is not the one that the config has", n+1))
		}
	}
	for _, blob := range described {
		errs = append(errs, i.verify(blob.Digest))
		info, err := os.Stat(blobPath(i.dir, blob.Digest))
		if err == nil && info.Size() != blob.Size {
			err = fmt.Errorf("%s has %d bytes, and should have %d", blob.Digest, info.Size(), blob.Size)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// verify checks the digest of one blob.
func (i *Image) verify(d digest.Digest) error {
	blob, err := i.Blob(d)
	if err != nil {
		return err
	}
	defer blob.Close()
	got, err := digest.FromReader(blob)
	if err == nil && got != d {
		err = fmt.Errorf("blob %s is in truth %s", d, got)
	}
	return err
}

// readJSON reads a file into a value.
func readJSON(path string, value any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
