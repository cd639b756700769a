//go:build linux

package whiteout

import (
	"errors"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A Maker makes the whiteouts of one directory: the first one anew and the others as links to it, as aufs and overlayfs do for
// themselves. To link and unlink takes the file system half of the time that a file takes.
type Maker struct {
	Dir  fsutil.Dir
	Anew func(dir fsutil.Dir, name string) error
	// First is the one that this maker has made last without a link. Nothing that was there before is linked to: it may be a
	// file that a container has.
	First string
	// begun: the directory is ready for whiteouts.
	begun bool
}

// Make makes a file that is a whiteout. The error matches unix.EEXIST if there is a file of that name.
func (w *Maker) Make(name string) error {
	if w.First != "" {
		// The error may be that of a file system that has no links, or no more of them for one file (EPERM, EMLINK).
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

// MakeOverlay makes a whiteout of overlay form.
func MakeOverlay(dir fsutil.Dir, name string) error {
	return dir.Failed("making the whiteout", name, unix.Mknodat(dir.Fd, name, unix.S_IFCHR, 0))
}

// MakeAufs makes a whiteout, or the mark of an opaque directory, of aufs form: an empty file with the mode that aufs gives
// them, whatever the umask of the process is.
func MakeAufs(dir fsutil.Dir, name string) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := fsutil.Retried(func() (int, error) { return unix.Openat(dir.Fd, name, flags, Mode) })
	if err != nil {
		return dir.Failed("making the whiteout", name, err)
	}
	// By its name, it may be another file by now.
	err = unix.Fchmod(fd, Mode)
	return dir.Failed("making the whiteout", name, errors.Join(err, unix.Close(fd)))
}

// MakeMark is MakeAufs for one that may be there.
func MakeMark(dir fsutil.Dir, name string) error {
	err := MakeAufs(dir, name)
	if errors.Is(err, unix.EEXIST) {
		return checkMark(dir, name)
	}
	return err
}

// checkMark is an error if the file name in dir is not what MakeMark makes.
func checkMark(dir fsutil.Dir, name string) error {
	there, err := dir.Lstat(name)
	if err == nil && (!there.Mode().IsRegular() || there.Size() > 0) {
		err = dir.Failed("making the whiteout", name, errors.New("something else is there"))
	}
	return err
}

// MakeOpaque marks the directory name in an open one, of a layer in aufs form, as opaque.
func MakeOpaque(above fsutil.Dir, name string) error {
	dir, err := above.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return fsutil.KeepTimes(dir, func() (bool, error) { return true, MakeMark(dir, OpaqueMark) })
}

// MakeOpaqueBeneath is MakeOpaque of the directory rel of the tree at root.
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
