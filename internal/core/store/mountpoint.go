//go:build linux

package store

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// MakeMountPoint makes the mount point of the layer if it is missing.
func (s Stores) MakeMountPoint(layer Layer) error {
	target := s.Mnt(layer)
	if !s.IsOwn(layer) {
		for _, dir := range []string{filepath.Dir(filepath.Dir(target)), filepath.Dir(target)} {
			if err := makeMountPoint(dir); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return makeMountPoint(target)
}

// makeMountPoint makes the directory target if it is missing.
func makeMountPoint(target string) error {
	st, err := fsutil.LstatOf(target)
	if errors.Is(err, fs.ErrNotExist) {
		return fsutil.MkdirWithoutACL(target, 0o700)
	}
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = &fs.PathError{Op: "mounting at", Path: target, Err: unix.ENOTDIR}
	}
	return err
}
