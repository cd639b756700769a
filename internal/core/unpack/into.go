//go:build linux

package unpack

import (
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// An Extracted is a directory that has the files of an archive, and is not yet the directory of a layer.
type Extracted struct {
	dir      string
	mappings *idmap.Mappings
	contents *layertar.Contents
	keeper   *kept.Keeper
	acls     layertar.TakenACLs
}

// Extract extracts an archive into the directory dir. dir gets the metadata of the directory like, unless the archive says something else.
func Extract(dir, like string, source io.Reader, options layertar.UnpackOptions, x Extractor) (*Extracted, error) {
	// Copy the metadata before the archive is extracted, because the archive may say something else.
	if err := whiteout.CopyDirMetadata(like, whiteout.AufsForm, dir); err != nil {
		return nil, err
	}
	// Files of the archive get the access control lists that the archive says, and no others.
	acls, err := layertar.TakeACLs(dir)
	if err != nil {
		return nil, err
	}
	scan := layertar.NewScan(source)
	k := kept.New(dir, &scan.Seen.Names)
	contents, err := scan.ContentsOnce(func() error { return Archive(scan, dir, options, k, x) })
	if err == nil {
		err = k.Unpacked()
	}
	if err != nil {
		return nil, err
	}
	return &Extracted{dir: dir, mappings: options.Mappings, contents: contents, keeper: k, acls: acls}, nil
}

// isClear reports whether the scan of the archive has found out everything about its files.
func (e *Extracted) isClear() bool { return !e.contents.Unclear && !e.contents.Xattrs }

// Size is how many bytes are in the files that the layer will have.
func (e *Extracted) Size() (int64, error) {
	if e.isClear() {
		return e.contents.Size, nil
	}
	tree, sizes := fsutil.Tree{Root: e.dir}, fsutil.Sizes{}
	defer tree.Close()
	err := addSizes(&tree, ".", &sizes)
	return sizes.Sum, err
}

// addSizes adds the files in the directory rel and below it, but for whiteouts and what Finish removes.
func addSizes(tree *fsutil.Tree, rel string, sizes *fsutil.Sizes) error {
	entries, err := tree.Visit(rel, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
		return false, addFiles(dir, entries, sizes)
	})
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasPrefix(entry.Name(), whiteout.Prefix) {
			continue
		}
		if err := addSizes(tree, filepath.Join(rel, entry.Name()), sizes); err != nil {
			return err
		}
	}
	return nil
}

// addFiles adds the files in one directory that are no whiteouts.
func addFiles(dir fsutil.Dir, entries []fs.DirEntry, sizes *fsutil.Sizes) error {
	for _, entry := range entries {
		if entry.IsDir() || strings.HasPrefix(entry.Name(), whiteout.Prefix) {
			continue
		}
		info, err := dir.Lstat(entry.Name())
		if err != nil {
			return err
		}
		sizes.Add(info)
	}
	return nil
}

// Settle turns the directory into one for a layer on top of the layers that layersBelow returns. size is in bytes. marked are the directories
// that have whiteouts, or nil if these are not known. Settle may be called once.
func (e *Extracted) Settle(layersBelow func() ([]whiteout.LayerDir, error)) (size int64, marked []string, err error) {
	implied, err := settleImplied(layersBelow, e.dir, e.keeper)
	if err != nil {
		return 0, nil, err
	}
	if e.isClear() {
		size, marked = e.contents.Size, e.contents.MarkedDirs()
		err = FinishMarked(e.dir, marked, e.keeper)
	} else {
		size, err = Finish(e.dir, e.mappings, e.keeper)
	}
	if err == nil {
		err = e.keeper.Finish()
	}
	if err == nil {
		err = restoreImplied(e.dir, implied)
	}
	if err != nil {
		return 0, nil, err
	}
	return size, marked, e.acls.GiveBack(e.dir)
}
