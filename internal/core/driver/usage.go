//go:build linux

package driver

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// ReadWriteDiskUsage returns what the layer's own directory takes: the bytes in its files, and the number of its inodes. A
// file with several names counts once; whiteouts, and the files that aufs keeps for itself, do not count.
func (d *Driver) ReadWriteDiskUsage(id string) (*Usage, error) {
	if _, err := d.home.Parents(id); err != nil {
		return nil, err
	}
	f, err := d.home.Form(id)
	if err != nil {
		return nil, store.LayerError("measuring", id, err)
	}
	usage, err := d.usage(id, f, nil)
	if err != nil {
		return nil, store.LayerError("measuring", id, err)
	}
	return usage, nil
}

// usage measures those files of the layer id, which is in form f, that are in only.
func (d *Driver) usage(id string, f whiteout.Form, only changedPaths) (*Usage, error) {
	s := sizes{}
	err := reading(d.home, id, func() error {
		return walkBranch(d.home.Diff(id), f, func(rel string, info fs.FileInfo) {
			if only.has(rel) {
				s.add(info)
			}
		})
	})
	return &Usage{Size: s.sum, Inodes: s.inodes}, err
}

// sizes add up files, each of them once, whatever names it has.
type sizes struct {
	sum, inodes int64
	seen        map[uint64]bool // of those that have several
}

func (s *sizes) add(info fs.FileInfo) {
	if st := fsutil.StatOf(info); !info.IsDir() && st.Nlink > 1 {
		if s.seen[st.Ino] {
			return
		}
		if s.seen == nil {
			s.seen = map[uint64]bool{}
		}
		s.seen[st.Ino] = true
	}
	s.inodes++
	// What a directory takes depends on the file system more than on the layer.
	if !info.IsDir() {
		s.sum += info.Size()
	}
}

// walkBranch calls visit for the root and all content of the layer at root, which is in form f. It passes over what is
// deleted while it walks.
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
