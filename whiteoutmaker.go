//go:build linux

package aufs

import (
	"errors"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A whiteoutMaker makes the whiteouts of one directory: the first one anew and the others as links to it, as aufs and overlayfs do for
// themselves. To link and unlink takes the file system half of the time that a file takes.
type whiteoutMaker struct {
	dir  fsutil.Dir
	anew func(dir fsutil.Dir, name string) error
	// first is the one that this maker has made last without a link. Nothing that was there before is linked to: it may be a
	// file that a container has.
	first string
	// begun: the directory is ready for whiteouts.
	begun bool
}

// make makes a file that is a whiteout. The error matches unix.EEXIST if there is a file of that name.
func (w *whiteoutMaker) make(name string) error {
	if w.first != "" {
		// The error may be that of a file system that has no links, or no more of them for one file (EPERM, EMLINK).
		if err := w.dir.Link(w.first, w.dir, name); err == nil {
			return nil
		}
	}
	err := w.anew(w.dir, name)
	if err == nil {
		w.first = name
	}
	return err
}

// makeOverlayWhiteout makes a whiteout of overlay form.
func makeOverlayWhiteout(dir fsutil.Dir, name string) error {
	return dir.Failed("making the whiteout", name, unix.Mknodat(dir.Fd, name, unix.S_IFCHR, 0))
}

// makeAufsWhiteout makes a whiteout, or the mark of an opaque directory, of aufs form: an empty file with the mode that aufs gives
// them, whatever the umask of the process is.
func makeAufsWhiteout(dir fsutil.Dir, name string) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := fsutil.Retried(func() (int, error) { return unix.Openat(dir.Fd, name, flags, whiteoutMode) })
	if err != nil {
		return dir.Failed("making the whiteout", name, err)
	}
	// By its name, it may be another file by now.
	err = unix.Fchmod(fd, whiteoutMode)
	return dir.Failed("making the whiteout", name, errors.Join(err, unix.Close(fd)))
}

// makeMark is makeAufsWhiteout for one that may be there.
func makeMark(dir fsutil.Dir, name string) error {
	err := makeAufsWhiteout(dir, name)
	if errors.Is(err, unix.EEXIST) {
		return checkMark(dir, name)
	}
	return err
}

// checkMark is an error if the file name in dir is not what makeMark makes.
func checkMark(dir fsutil.Dir, name string) error {
	there, err := dir.Lstat(name)
	if err == nil && (!there.Mode().IsRegular() || there.Size() > 0) {
		err = dir.Failed("making the whiteout", name, errors.New("something else is there"))
	}
	return err
}

// makeOpaque marks the directory name in an open one, of a layer in aufs form, as opaque.
func makeOpaque(above fsutil.Dir, name string) error {
	dir, err := above.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return fsutil.KeepTimes(dir, func() (bool, error) { return true, makeMark(dir, opaqueMark) })
}

// makeOpaqueBeneath is makeOpaque of the directory rel of the tree at root.
func makeOpaqueBeneath(root, rel string) error {
	above, err := fsutil.OpenBelow(root, filepath.Dir(rel))
	if err != nil {
		return err
	}
	defer above.Close()
	return makeOpaque(above, filepath.Base(rel))
}

// whiteoutMode is the mode of whiteouts in aufs form.
const whiteoutMode = 0o444
