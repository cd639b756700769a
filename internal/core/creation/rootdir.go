//go:build linux

package creation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// defaultRootMode is the mode of the root directory of a layer without a parent.
const defaultRootMode = 0o555

// RootDir is the mode and owner of a layer's new root directory.
type RootDir struct {
	mode     fs.FileMode
	uid, gid int
}

// Make makes the directory dir with this mode and owner. isMade reports whether Make has made dir, even if err is not nil.
func (r RootDir) Make(dir string) (isMade bool, err error) {
	if err := fsutil.MkdirWithoutACL(dir, 0o700); err != nil {
		return false, err
	}
	return true, r.Set(dir)
}

// Set gives the directory dir this mode and owner.
func (r RootDir) Set(dir string) error {
	// The owner comes first: changing the owner clears bits of the mode.
	if err := os.Lchown(dir, r.uid, r.gid); err != nil {
		return err
	}
	return os.Chmod(dir, r.mode)
}

// RootDirAt returns the mode and owner of the directory dir.
func RootDirAt(dir string) (RootDir, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return RootDir{}, err
	}
	const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	st := fsutil.StatOf(info)
	return RootDir{mode: info.Mode() & bits, uid: int(st.Uid), gid: int(st.Gid)}, nil
}

// RootOn returns the mode and owner that Create gives the root directory of a layer on top of parent, which may be "".
func RootOn(s store.Stores, parent string, mappings *idmap.Mappings) (RootDir, error) {
	var parents []store.Layer
	if parent != "" {
		if err := store.CheckID(parent); err != nil {
			return RootDir{}, err
		}
		layer := s.Find(parent, s.Home)
		if !layer.Exists() {
			return RootDir{}, store.ErrLayerUnknown
		}
		parents = []store.Layer{layer}
	}
	root, err := rootOf(parents, mappings)
	if errors.Is(err, fs.ErrNotExist) && !s.Exists(parent) {
		// The store is not locked, so somebody may just have removed the parent.
		return RootDir{}, store.ErrLayerUnknown
	}
	return root, err
}

func rootOf(parents []store.Layer, mappings *idmap.Mappings) (RootDir, error) {
	if len(parents) > 0 {
		root, err := RootDirAt(parents[0].Dir())
		if err != nil {
			return RootDir{}, fmt.Errorf("reading the directory of the parent %s: %w", parents[0].ID, err)
		}
		return root, nil
	}
	root := RootDir{mode: defaultRootMode}
	if mappings != nil {
		pair := mappings.Root()
		root.uid, root.gid = pair.UID, pair.GID
	}
	return root, nil
}
