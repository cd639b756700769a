//go:build linux

package whiteout

import (
	"errors"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A Maker makes the whiteouts of one directory: the first one anew, and the others as links to it, as aufs and overlayfs do themselves.
// Linking and unlinking takes the file system half the time that a new file takes.
type Maker struct {
	Dir  fsutil.Dir
	Anew func(dir fsutil.Dir, name string) error
	// First is the whiteout that this Maker has last made anew. The Maker links to nothing that was there before: that may be a file that a
	// container has.
	First string
	// begun says that the directory is ready for whiteouts.
	begun bool
}

// Make makes the file name, which is a whiteout. The error matches unix.EEXIST if there is a file of that name.
func (w *Maker) Make(name string) error {
	if w.First != "" {
		// Linking fails on a file system that has no links, or no more of them for one file (EPERM, EMLINK).
		if err := w.Dir.Link(w.First, w.Dir, name); err == nil {
			return nil
		}
	}
	err := w.Anew(w.Dir, name)
	if err == nil {
		w.First = name
	}
	return err
}

// MakeOverlay makes a whiteout in overlay form.
func MakeOverlay(dir fsutil.Dir, name string) error {
	return dir.Failed("making the whiteout", name, unix.Mknodat(dir.Fd, name, unix.S_IFCHR, 0))
}

// MakeAufs makes a whiteout or an opaque mark in aufs form: an empty file with the mode that aufs gives it, whatever the umask of the
// process is.
func MakeAufs(dir fsutil.Dir, name string) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := fsutil.Retried(func() (int, error) { return unix.Openat(dir.Fd, name, flags, Mode) })
	if err != nil {
		return dir.Failed("making the whiteout", name, err)
	}
	// Set the mode of the open file: another file may have its name by now.
	err = unix.Fchmod(fd, Mode)
	return dir.Failed("making the whiteout", name, errors.Join(err, unix.Close(fd)))
}

// MakeMark is MakeAufs for a mark that may already be there.
func MakeMark(dir fsutil.Dir, name string) error {
	err := MakeAufs(dir, name)
	if errors.Is(err, unix.EEXIST) {
		return checkMark(dir, name)
	}
	return err
}

// errNameTaken says that something else has the name of a mark.
var errNameTaken = errors.New("the name is taken")

// checkMark returns an error unless the file name in dir is an empty regular file, as MakeMark makes it.
func checkMark(dir fsutil.Dir, name string) error {
	there, err := dir.Lstat(name)
	if err == nil && (!there.Mode().IsRegular() || there.Size() > 0) {
		err = dir.Failed("making the whiteout", name, errNameTaken)
	}
	return err
}

// MakeOpaque makes the directory name in above opaque, in aufs form.
func MakeOpaque(above fsutil.Dir, name string) error {
	dir, err := above.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return fsutil.KeepTimes(dir, func() (bool, error) { return true, MakeMark(dir, OpaqueMark) })
}

// MakeOpaqueBeneath is MakeOpaque for the directory rel of the tree at root.
func MakeOpaqueBeneath(root, rel string) error {
	above, err := fsutil.OpenBelow(root, filepath.Dir(rel))
	if err != nil {
		return err
	}
	defer above.Close()
	return MakeOpaque(above, filepath.Base(rel))
}

// Mode is the mode of whiteouts in aufs form.
const Mode = 0o444
