//go:build linux

package layerdiff

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// UsageOf returns the disk usage of those files of the layer, in form f, that are in only.
func UsageOf(layer store.Layer, f whiteout.Form, only Paths) (*Usage, error) {
	s := fsutil.Sizes{}
	err := Reading(layer, func() error {
		return walkBranch(layer.Dir(), f, func(rel string, info fs.FileInfo) {
			if only.has(rel) {
				s.Add(info)
			}
		})
	})
	return &Usage{Size: s.Sum, Inodes: s.Inodes}, err
}

// walkBranch calls visit for the root and all content of the layer at root, which is in form f. It passes over files
// that are deleted meanwhile.
func walkBranch(root string, f whiteout.Form, visit func(rel string, info fs.FileInfo)) error {
	info, err := os.Lstat(root)
	if err != nil {
		return err
	}
	visit(".", info)
	return walkBranchDir(root, ".", f, visit)
}

func walkBranchDir(root, rel string, f whiteout.Form, visit func(rel string, info fs.FileInfo)) error {
	l, err := whiteout.ReadListingLook(root, rel, f)
	if err != nil {
		if rel != "." {
			err = fsutil.IgnoreGone(err)
		}
		return err
	}
	for name, entry := range l.Entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		path := filepath.Join(rel, name)
		visit(path, info)
		if !entry.IsDir() {
			continue
		}
		if err := walkBranchDir(root, path, f, visit); err != nil {
			return err
		}
	}
	return nil
}
