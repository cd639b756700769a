//go:build linux

package staging

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/creation"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
)

// A Layer is an archive that was unpacked for a layer.
type Layer struct {
	*store.Scratch
	// Root is what the root directory has unless the archive says something else.
	Root      creation.RootDir
	Extracted *unpack.Extracted
}

// Unpack unpacks an archive to target, which gets the mode and owner root unless the archive says something else.
func Unpack(target string, root creation.RootDir, archive io.Reader, options layertar.UnpackOptions, x unpack.Extractor) (*unpack.Extracted, error) {
	like := filepath.Join(filepath.Dir(target), "like")
	for _, dir := range []string{like, target} {
		if _, err := root.Make(dir); err != nil {
			return nil, err
		}
	}
	extracted, err := unpack.Extract(target, like, archive, options, x)
	if err != nil {
		return nil, err
	}
	return extracted, os.Remove(like)
}

// SetRoot gives the root directory of target what the layer's has, unless the archive says something else. The layer may have become another
// one than was expected: its owners are not those of its parent, or somebody has made the parent again.
func (l *Layer) SetRoot(target, layer string) error {
	own, err := l.HasRoot(target)
	if err != nil || own {
		return err
	}
	root, err := creation.RootDirAt(layer)
	if err != nil || root == l.Root {
		return err
	}
	return root.Set(target)
}

// HasRoot reports whether the archive has changed the owner or mode of the root directory of target.
func (l *Layer) HasRoot(target string) (bool, error) {
	now, err := creation.RootDirAt(target)
	return err == nil && now != l.Root, err
}

// ArchiveRoot begins an archive with the entry of the root directory of target.
func ArchiveRoot(out io.Writer, target string, fileInfoHeader layerdiff.HeaderFunc) error {
	info, err := os.Lstat(target)
	if err != nil {
		return err
	}
	h, err := fileInfoHeader("./", info, "")
	if err != nil {
		return err
	}
	h.ModTime = h.ModTime.Truncate(time.Second)
	return tar.NewWriter(out).WriteHeader(h)
}
