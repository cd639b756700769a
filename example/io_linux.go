package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/containers/storage"
)

// countingReader reports how many bytes were read.
type countingReader struct {
	io.Reader
	add func(int64)
}

// Read implements io.Reader.
func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.add(int64(n))
	return n, err
}

// sumLayer returns the SHA-256 of a layer's export.
func sumLayer(store storage.Store, layer string, add func(int64)) (sum [sha256.Size]byte, err error) {
	r, err := export(store, layer)
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	_, err = io.Copy(h, &countingReader{r, add})
	h.Sum(sum[:0])
	return sum, errors.Join(err, r.Close())
}

// unpackFile applies the archive called name to the plain directory root.
func unpackFile(root, name string, done func(int64)) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unpackLayer(root, f, done)
}

// writeExport writes the container's changes to the file r.exported and returns
// its size in bytes.
func (r *run) writeExport() (int64, error) {
	diff, err := export(r.store, r.container.LayerID)
	if err != nil {
		return 0, err
	}
	f, err := os.Create(r.exported)
	if err != nil {
		return 0, errors.Join(err, diff.Close())
	}
	n, err := io.Copy(f, diff)
	return n, errors.Join(err, diff.Close(), f.Close())
}

// checkReadOnly checks that a mounted image cannot be written to.
func checkReadOnly(dir string) error {
	err := os.WriteFile(filepath.Join(dir, "written-to-an-image"), nil, 0o600)
	if err == nil {
		return fmt.Errorf("the image mounted at %s took a new file", dir)
	}
	if !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("a write to a mounted image: %w", err)
	}
	return nil
}

// short returns a path of the store relative to the run's directory, with long IDs
// cut to twelve digits.
func (r *run) short(name string) string {
	rel, err := filepath.Rel(r.root, name)
	if err != nil {
		return name
	}
	parts := strings.Split(rel, string(filepath.Separator))
	for i, part := range parts {
		if len(part) == 64 {
			parts[i] = part[:12]
		}
	}
	return filepath.Join(parts...)
}
