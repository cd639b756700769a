//go:build linux

package fsutil

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// The flags that keep a file, or the names in a directory, from being changed (chattr(1); the values are those of <linux/fs.h>).
const (
	ImmutableFlag  = 0x10
	AppendOnlyFlag = 0x20
)

// MakeMutable clears these flags on dir and everything in it, so that it can be removed. A container can set these flags.
func MakeMutable(dir string) error {
	top, err := os.OpenFile(dir, OpenDirectory, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		// In the place of a directory is a file of another kind, which has no content to walk through.
		return clearFlagsAt(unix.AT_FDCWD, dir)
	}
	if err != nil {
		return err
	}
	err = clearFlags(top, ".")
	if err = errors.Join(err, top.Close()); err != nil {
		return err
	}
	return WalkBeneath(dir, func(parent *os.File, rel string, st *unix.Stat_t) error {
		if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG {
			return nil
		}
		return clearFlags(parent, filepath.Base(rel))
	})
}

// clearFlags clears these flags on the regular file or directory name in an open directory. Files of other kinds have no flags.
func clearFlags(dir *os.File, name string) error {
	err := clearFlagsAt(int(dir.Fd()), name)
	if err != nil {
		err = &os.PathError{Op: "clearing the flags of", Path: dir.Name() + "/" + name, Err: err}
	}
	return IgnoreGone(err)
}

func clearFlagsAt(dir int, name string) error {
	path, err := locate(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(path)
	var st syscall.Stat_t
	fd, err := OpenKind(path, &st, unix.S_IFREG, unix.S_IFDIR)
	if errors.Is(err, ErrNotRegular) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil || flags&(ImmutableFlag|AppendOnlyFlag) == 0 {
		// The file has none of these flags, or its file system has no flags at all.
		return nil
	}
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags&^(ImmutableFlag|AppendOnlyFlag)))
}
