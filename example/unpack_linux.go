package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containers/storage/pkg/archive"
)

// unpacker puts layers on top of one another in a plain directory, without the
// library or the driver. It trusts the archives, because this program wrote
// them.
type unpacker struct {
	root string
	own  map[string]bool // Paths that the current layer has brought.
}

// unpackLayer applies one layer's archive to the plain directory root.
func unpackLayer(root string, r io.Reader, done func(int64)) error {
	u := unpacker{root: root, own: map[string]bool{}}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.member(h, tr); err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
		done(1)
	}
}

// member applies one member: a whiteout or a file.
func (u *unpacker) member(h *tar.Header, contents io.Reader) error {
	e := entryFromHeader(h)
	name := path.Base(e.Path)
	switch {
	case name == archive.WhiteoutOpaqueDir:
		return u.hideBelow(path.Dir(e.Path))
	case strings.HasPrefix(name, archive.WhiteoutPrefix):
		deleted := path.Join(path.Dir(e.Path), strings.TrimPrefix(name, archive.WhiteoutPrefix))
		return os.RemoveAll(filepath.Join(u.root, deleted))
	}
	for p := e.Path; p != "."; p = path.Dir(p) {
		u.own[p] = true
	}
	target := filepath.Join(u.root, e.Path)
	if h.Typeflag == tar.TypeLink {
		return replace(target, func() error { return os.Link(filepath.Join(u.root, h.Linkname), target) })
	}
	if err := create(target, e, contents); err != nil {
		return err
	}
	return setMetadata(target, e)
}

// hideBelow removes what lower layers have in an opaque directory.
func (u *unpacker) hideBelow(dir string) error {
	entries, err := os.ReadDir(filepath.Join(u.root, dir))
	if err != nil {
		return err
	}
	for _, child := range entries {
		p := path.Join(dir, child.Name())
		if u.own[p] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(u.root, p)); err != nil {
			return err
		}
	}
	return nil
}

// create makes the file that e describes. It replaces whatever is there, except
// a directory by a directory.
func create(target string, e entry, contents io.Reader) error {
	if e.Kind == kindDir {
		if fi, err := os.Lstat(target); err == nil && fi.IsDir() {
			return nil
		}
	}
	return replace(target, func() error {
		switch e.Kind {
		case kindDir:
			return os.Mkdir(target, 0o700)
		case kindSymlink:
			return os.Symlink(e.Target, target)
		case kindFifo:
			return unix.Mkfifo(target, 0o600)
		case kindChar:
			return unix.Mknod(target, unix.S_IFCHR|0o600, int(e.Rdev))
		case kindBlock:
			return unix.Mknod(target, unix.S_IFBLK|0o600, int(e.Rdev))
		default:
			return writeFile(target, contents)
		}
	})
}

// replace removes what is at target before it calls makeNew.
func replace(target string, makeNew func() error) error {
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	return makeNew()
}

// writeFile makes a file with the given contents.
func writeFile(target string, contents io.Reader) error {
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, contents)
	return errors.Join(err, f.Close())
}

// setMetadata gives a new file its owner, mode, attributes and time.
func setMetadata(target string, e entry) error {
	if err := os.Lchown(target, e.UID, e.GID); err != nil {
		return err
	}
	if e.Kind == kindSymlink {
		return nil
	}
	// chmod comes after chown, which clears the setuid bit and the capability attribute.
	if err := unix.Chmod(target, e.Mode); err != nil {
		return &os.PathError{Op: "chmod", Path: target, Err: err}
	}
	for key, value := range e.Xattrs {
		if err := unix.Lsetxattr(target, key, []byte(value), 0); err != nil {
			return fmt.Errorf("set attribute %s: %w", key, err)
		}
	}
	return setMtime(target, e.Mtime)
}

// setMtime sets the modification time, in seconds since 1970.
func setMtime(target string, seconds int64) error {
	t := time.Unix(seconds, 0)
	return os.Chtimes(target, t, t)
}
