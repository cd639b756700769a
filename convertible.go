//go:build linux

package aufs

import (
	"errors"
	"io/fs"

	"github.com/containers/storage/pkg/archive"
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
			err = fsutil.IgnoreGone(checkMark(dir, archive.WhiteoutOpaqueDir))
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
	if len(name) > unix.NAME_MAX-len(archive.WhiteoutPrefix) {
		return dir.Failed("making an aufs whiteout of", name, unix.ENAMETOOLONG)
	}
	return fsutil.IgnoreGone(checkMark(dir, archive.WhiteoutPrefix+name))
}

// begin records that the conversion of the layer id, whose record is r, was begun, to the overlay form f or from it. A mount that was made before
// that is seen now; who makes one after that sees the record (see mountStack).
func (c *converter) begin(id string, f form, r formRecord) error {
	if err := c.home.setForm(id, formRecord{form: f, converting: true}); err != nil {
		return err
	}
	err := c.users.idle(id)
	if err != nil && r.form == "" {
		return errors.Join(err, c.home.unsetForm(id))
	}
	if err != nil {
		return errors.Join(err, c.home.setForm(id, r))
	}
	return nil
}
