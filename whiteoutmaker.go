//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A whiteoutMaker makes the whiteouts of one directory of a layer: as hard links to one that there is for all of the store, or the first
// one anew and the others as links to it, as aufs and overlayfs do for themselves. To link and unlink takes the file system half of the
// time that a file takes.
type whiteoutMaker struct {
	// dir is a path of the directory to use in calls.
	dir  string
	anew func(path string) error
	// first is the path of the one that this maker has made last without a link. Nothing that was there before is linked to: it
	// may be a file that a container has.
	first string
	// begun: the directory is ready for whiteouts.
	begun bool
	// shared is the path of the one for all of the store, of overlay form, which is made if it is not there; or "", as for whiteouts that
	// stay in a layer. looked: it is one.
	shared string
	looked bool
}

// make makes a file that is a whiteout. The error matches unix.EEXIST if there is a file of that name.
func (w *whiteoutMaker) make(name string) error {
	path := w.dir + "/" + name
	if w.linkShared(path) {
		return nil
	}
	if w.first != "" {
		// The error may be that of a file system that has no links, or no more of them for one file (EPERM, EMLINK).
		if err := unix.Link(w.first, path); err == nil {
			return nil
		}
	}
	err := w.anew(path)
	if err == nil {
		w.first = path
	}
	return err
}

// linkShared links path to the shared whiteout, if that can be had.
func (w *whiteoutMaker) linkShared(path string) bool {
	if w.shared == "" {
		return false
	}
	if !w.looked {
		// Not every copy of a store has devices as such.
		info, err := os.Lstat(w.shared)
		if errors.Is(err, fs.ErrNotExist) {
			err = w.anew(w.shared)
		} else if err == nil && !isOverlayWhiteout(info) {
			err = errors.ErrUnsupported
		}
		if err != nil {
			w.shared = ""
			return false
		}
		w.looked = true
	}
	err := unix.Link(w.shared, path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		// As above; or the directories have quotas of their own (EXDEV).
		w.shared = ""
	}
	return err == nil
}

// makeOverlayWhiteout makes a whiteout of overlay form.
func makeOverlayWhiteout(path string) error {
	if err := unix.Mknod(path, unix.S_IFCHR, 0); err != nil {
		return &fs.PathError{Op: "making the whiteout", Path: path, Err: err}
	}
	return nil
}

// makeAufsWhiteout makes a whiteout, or the mark of an opaque directory, of aufs form: an empty file with the mode that aufs gives
// them, whatever the umask of the process is.
func makeAufsWhiteout(path string) error {
	err := unix.Mknod(path, unix.S_IFREG|whiteoutMode, 0)
	if err == nil {
		err = unix.Chmod(path, whiteoutMode)
	}
	if err != nil {
		return &fs.PathError{Op: "making the whiteout", Path: path, Err: err}
	}
	return nil
}

// makeMark is makeAufsWhiteout for one that may be there.
func makeMark(path string) error {
	err := makeAufsWhiteout(path)
	if errors.Is(err, unix.EEXIST) {
		return checkMark(path)
	}
	return err
}

// checkMark is an error if what is at path is not what makeMark makes.
func checkMark(path string) error {
	there, err := os.Lstat(path)
	if err == nil && (!there.Mode().IsRegular() || there.Size() > 0) {
		err = &fs.PathError{Op: "making the whiteout", Path: path, Err: errors.New("something else is there")}
	}
	return err
}
