//go:build linux

package staging

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/creation"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// A Layer is an archive that was unpacked for a layer.
type Layer struct {
	Directory
	*unpack.Extracted
	// Maps have mapped the owners of the files.
	Maps *idmap.Mappings
	// root is what the root directory of the target has unless the archive says something else.
	root creation.RootDir
}

// Unpack unpacks an archive to the target of dir. The root directory of the target gets the mode and owner in root, unless the archive says
// something else. When Unpack returns, the files are on the disk. size is how many bytes are in them.
func Unpack(dir Directory, root creation.RootDir, archive io.Reader, options layertar.UnpackOptions,
	x unpack.Extractor,
) (_ *Layer, size int64, err error) {
	like := filepath.Join(dir.Dir, "like")
	for _, path := range []string{like, dir.Target} {
		if _, err := root.Make(path); err != nil {
			return nil, 0, err
		}
	}
	extracted, err := unpack.Extract(dir.Target, like, archive, options, x)
	if err == nil {
		err = os.Remove(like)
	}
	if err == nil {
		size, err = extracted.Size()
	}
	if err == nil {
		// Not at the commit, when others wait for the store.
		err = dir.SyncData()
	}
	if err != nil {
		return nil, 0, err
	}
	return &Layer{dir, extracted, options.Mappings, root}, size, nil
}

// SetRoot gives the root directory of the target the mode and owner of the directory layer, unless the archive says something else. Unpack may
// have set others: the library may have changed the owners in the layer since, or somebody may have made the parent again.
func (l *Layer) SetRoot(layer string) error {
	own, err := l.hasRoot()
	if err != nil || own {
		return err
	}
	root, err := creation.RootDirAt(layer)
	if err != nil || root == l.root {
		return err
	}
	return root.Set(l.Target)
}

// hasRoot reports whether the archive has changed the owner or mode of the root directory of the target.
func (l *Layer) hasRoot() (bool, error) {
	now, err := creation.RootDirAt(l.Target)
	return err == nil && now != l.root, err
}

// Archive makes the archive again, for a layer that cannot take the target as its directory. Directories that the archive only implies get the
// metadata that they have in the layers from layersShown. Archive takes the place of Settle. The caller must close the archive.
func (l *Layer) Archive(layersShown func() ([]whiteout.LayerDir, error), fileInfoHeader layerdiff.HeaderFunc) (io.ReadCloser, error) {
	if _, _, err := l.Settle(layersShown); err != nil {
		return nil, err
	}
	var root bytes.Buffer
	own, err := l.hasRoot()
	if err == nil && own {
		err = archiveRoot(&root, l.Target, fileInfoHeader)
	}
	if err != nil {
		return nil, err
	}
	held, err := layerdiff.HoldDir(l.Target)
	if err != nil {
		return nil, err
	}
	files := layerdiff.Archive(held, whiteout.AufsForm, layersShown, &idmap.Mappings{}, nil, true, fileInfoHeader)
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(&root, files), files}, nil
}

// archiveRoot begins an archive with the entry of the root directory of target.
func archiveRoot(out io.Writer, target string, fileInfoHeader layerdiff.HeaderFunc) error {
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
