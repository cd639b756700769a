//go:build linux

package unpack

import (
	"io"

	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// Into extracts an archive into the directory dir, and makes dir the directory of a layer on top of those that
// layersBelow returns. dir gets the metadata of the directory like, unless the archive says something else. size is in
// bytes. marked are the directories that have whiteouts, or nil if these are not known.
func Into(dir, like string, layersBelow func() ([]whiteout.LayerDir, error), source io.Reader, options layertar.UnpackOptions, x Extractor) (size int64, marked []string, err error) {
	// Copy the metadata before the archive is extracted, because the archive may say something else.
	if err := whiteout.CopyDirMetadata(like, whiteout.AufsForm, dir); err != nil {
		return 0, nil, err
	}
	// Files of the archive get the access control lists that the archive says, and no others.
	acls, err := layertar.TakeACLs(dir)
	if err != nil {
		return 0, nil, err
	}
	scan := layertar.NewScan(source)
	k := kept.New(dir, &scan.Seen.Names)
	contents, err := scan.ContentsOnce(func() error { return Archive(scan, dir, options, k, x) })
	if err == nil {
		err = k.Unpacked()
	}
	if err != nil {
		return 0, nil, err
	}
	implied, err := settleImplied(layersBelow, dir, k)
	if err != nil {
		return 0, nil, err
	}
	if contents.Unclear || contents.Xattrs {
		size, err = Finish(dir, options.Mappings, k)
	} else {
		size, marked = contents.Size, contents.MarkedDirs()
		err = FinishMarked(dir, marked, k)
	}
	if err == nil {
		err = k.Finish()
	}
	if err == nil {
		err = restoreImplied(dir, implied)
	}
	if err != nil {
		return 0, nil, err
	}
	return size, marked, acls.GiveBack(dir)
}
