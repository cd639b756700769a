//go:build linux

package aufs

import (
	"io/fs"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// mustHaveAufsForm is an error if a mark of the layer at root, which is in overlay form f, has no aufs form. The error names the file. It is asked
// before anything is changed: a conversion that is given up on its way takes away what a container has made under the names of aufs's marks.
func mustHaveAufsForm(root string, f form) error {
	return eachDir(root, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
		for _, entry := range entries {
			if err := whiteoutHasAufsForm(dir, entry); err != nil {
				return false, err
			}
		}
		opaque, err := hasOpaqueXattr(dir.Reach("."), f)
		if err != nil {
			return false, dir.Named(err)
		}
		if opaque {
			err = fsutil.IgnoreGone(checkMark(dir, opaqueMark))
		}
		return false, err
	})
}

// whiteoutHasAufsForm is mustHaveAufsForm for one file.
func whiteoutHasAufsForm(dir fsutil.Dir, entry fs.DirEntry) error {
	if entry.Type()&fs.ModeCharDevice == 0 {
		return nil
	}
	name := entry.Name()
	info, err := dir.Lstat(name)
	if err != nil || !isOverlayWhiteout(info) {
		return err
	}
	if len(name) > unix.NAME_MAX-len(whiteoutPrefix) {
		return dir.Failed("making an aufs whiteout of", name, unix.ENAMETOOLONG)
	}
	return fsutil.IgnoreGone(checkMark(dir, whiteoutPrefix+name))
}
