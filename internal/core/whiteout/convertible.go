//go:build linux

package whiteout

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// ErrNoAufsForm says that a layer has a mark for which there is no aufs form.
var ErrNoAufsForm = errors.New("the layer has no aufs form")

// errOpaque says that a whiteout would have the name of an opaque mark.
var errOpaque = errors.New("aufs would take the whiteout for an opaque mark")

// MustHaveAufsForm returns ErrNoAufsForm if a mark of the layer at root, which is in overlay form f, has no aufs form. The error names the file.
// Callers check this before they change anything: a conversion that gives up halfway converts back, and that removes what a container has
// made under the names of aufs's marks.
func MustHaveAufsForm(root string, f Form) error {
	return EachDir(root, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
		for _, entry := range entries {
			if err := whiteoutHasAufsForm(dir, entry); err != nil {
				return false, err
			}
		}
		opaque, err := HasOpaqueXattr(dir.Reach("."), f)
		if err != nil {
			return false, dir.Named(err)
		}
		if opaque {
			err = isFreeForMark(dir, OpaqueMark)
		}
		return false, err
	})
}

// whiteoutHasAufsForm is MustHaveAufsForm for one file.
func whiteoutHasAufsForm(dir fsutil.Dir, entry fs.DirEntry) error {
	if entry.Type()&fs.ModeCharDevice == 0 {
		return nil
	}
	name := entry.Name()
	info, err := dir.Lstat(name)
	if err != nil || !IsOverlay(info) {
		return err
	}
	if len(name) > unix.NAME_MAX-len(Prefix) {
		return fmt.Errorf("%w: %w", ErrNoAufsForm, dir.Failed("making an aufs whiteout of", name, unix.ENAMETOOLONG))
	}
	if Prefix+name == OpaqueMark {
		return fmt.Errorf("%w: %w", ErrNoAufsForm, dir.Failed("making an aufs whiteout of", name, errOpaque))
	}
	return isFreeForMark(dir, Prefix+name)
}

// isFreeForMark returns ErrNoAufsForm if something else than a mark has the name of one.
func isFreeForMark(dir fsutil.Dir, name string) error {
	err := checkMark(dir, name)
	if errors.Is(err, errNameTaken) {
		return fmt.Errorf("%w: %w", ErrNoAufsForm, err)
	}
	return fsutil.IgnoreGone(err)
}
