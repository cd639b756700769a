//go:build linux

package differential

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-642172e2/aufs/internal/listing"
	"golang.org/x/sys/unix"
)

// copyTree copies a file, or a directory with everything below it, to another path in the tree at root. It does not use
// the library's archives: version v1.64 follows symbolic links there, and loses what is in directories whose names are
// not UTF-8.
func copyTree(root, from, to string) error {
	// names has the first name in the copy of each file, for files with several names.
	names := map[uint64]string{}
	// Times are set last, because making a file in a directory changes the directory's time.
	var stamps []func() error
	source, target := filepath.Join(root, from), filepath.Join(root, to)
	err := filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		made := filepath.Join(target, rel)
		st, err := lstat(path)
		if err != nil {
			return err
		}
		if first := names[st.Ino]; first != "" && !entry.IsDir() {
			return os.Link(first, made)
		}
		names[st.Ino] = made
		stamps = append(stamps, func() error { return setTime(made, time.Unix(st.Mtim.Unix())) })
		if err := copyContent(path, made, st); err != nil {
			return err
		}
		return copyAttributes(path, made, st)
	})
	for _, stamp := range stamps {
		err = errors.Join(err, stamp())
	}
	return err
}

// copyContent makes a file of the same kind and with the same content.
func copyContent(from, to string, st unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return os.Mkdir(to, 0o700)
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case unix.S_IFREG:
		source, err := os.Open(from)
		if err != nil {
			return err
		}
		defer source.Close()
		made, err := os.Create(to)
		if err != nil {
			return err
		}
		_, err = io.Copy(made, source)
		return errors.Join(err, made.Close())
	default:
		return unix.Mknod(to, st.Mode, int(st.Rdev))
	}
}

// copyAttributes gives a file the owner, mode and extended attributes of another file. It sets the owner first, because
// that changes the others.
func copyAttributes(from, to string, st unix.Stat_t) error {
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
			return err
		}
	}
	names, err := listing.XattrNames(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		value, err := listing.Xattr(from, name)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(to, name, value, 0); err != nil {
			return &os.PathError{Op: "lsetxattr " + name, Path: to, Err: err}
		}
	}
	return nil
}
