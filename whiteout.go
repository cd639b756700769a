//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A layer's directory says what it takes away from its ancestors by whiteouts and opaque directories. There are two ways
// to write them down.
//
// In aufs form, that of archives and so of image layers: the name X is deleted by an empty file .wh.X beside it, and a directory
// hides what ancestors have in it by an empty file .wh..wh..opq inside (aufs(5); OCI's layers have the
// same names). Other names that begin with .wh..wh. are aufs's own: at the
// root those of its files, elsewhere those of what it has renamed to remove it (au_whtmp_lkup in fs/aufs/whout.c), which it
// does in its own time and a crash leaves behind. No mount of aufs shows them.
//
// In overlay form, that of a layer that overlayfs has mounted writable: X is deleted by a character device 0/0 of that
// name, and an opaque directory has the extended attribute trusted.overlay.opaque, or user.overlay.opaque, of "y"
// (Documentation/filesystems/overlayfs.rst of the kernel).

const (
	// whiteoutPrefix begins the name of a whiteout: the rest is the name that it deletes.
	whiteoutPrefix = ".wh."
	// opaqueMark is the name of the file that makes a directory opaque.
	opaqueMark = whiteoutMetaPrefix + ".opq"
	// whiteoutMetaPrefix begins the names that are aufs's own, and opaqueMark.
	whiteoutMetaPrefix = whiteoutPrefix + whiteoutPrefix
)

// form is the way that the whiteouts of a layer are written.
type form string

const (
	aufsForm form = "aufs"
	// overlayTrusted is overlay form with attributes trusted.overlay.*: that of the initial user namespace.
	overlayTrusted form = "trusted"
	// overlayUser is overlay form with attributes user.overlay.*: that of the mount option userxattr.
	overlayUser form = "user"
)

// xattrPrefix is what the names of overlayfs's extended attributes begin with in this form.
func (f form) xattrPrefix() string {
	return string(f) + ".overlay."
}

// whiteoutOf returns X for the name .wh.X of a whiteout in aufs form. Names of aufs's own, the mark of an opaque directory, and
// what would delete "." or ".." are no whiteouts.
func whiteoutOf(name string) (string, bool) {
	if strings.HasPrefix(name, whiteoutMetaPrefix) {
		return "", false
	}
	hidden, ok := strings.CutPrefix(name, whiteoutPrefix)
	return hidden, ok && hidden != "" && hidden != "." && hidden != ".."
}

// isOwnFile tells if name, at the root of a layer, or anywhere in one in aufs form, is that of one of aufs's own files: neither
// content nor a whiteout.
func isOwnFile(name string) bool {
	return strings.HasPrefix(name, whiteoutMetaPrefix) && name != opaqueMark
}

// isOwnFileIn is isOwnFile for a name in a directory of a layer in form f.
func isOwnFileIn(f form, atRoot bool, name string) bool {
	return (atRoot || f == aufsForm) && isOwnFile(name)
}

// isOverlayWhiteout tells if a file is a whiteout of overlay form.
func isOverlayWhiteout(info fs.FileInfo) bool {
	return info.Mode()&fs.ModeCharDevice != 0 && fsutil.StatOf(info).Rdev == 0
}

// listing is one directory of a layer, its whiteouts told apart from its content.
type listing struct {
	// entries is the content, by name.
	entries map[string]fs.DirEntry
	// whiteouts are the names that are deleted.
	whiteouts map[string]bool
	// opaque: what ancestors have in this directory is hidden.
	opaque bool
}

// readListing reads the directory rel ("." is the root) of the layer at root, which is in form f.
func readListing(root, rel string, f form) (listing, error) {
	return listDirectory(root, rel, f, nil)
}

// readListingLook is readListing that has looked at each file: nobody but the open directory can tell what a file is, where a container
// may be at work.
func readListingLook(root, rel string, f form) (listing, error) {
	return listDirectory(root, rel, f, func(string) bool { return true })
}

// listDirectory is readListing, which looks at those files that are wanted.
func listDirectory(root, rel string, f form, wanted func(name string) bool) (listing, error) {
	dir, err := fsutil.OpenBelow(root, rel)
	if err != nil {
		return listing{}, err
	}
	defer dir.Close()
	return listOpened(dir, rel == ".", f, wanted)
}

// listOpened is listDirectory of an open directory.
func listOpened(dir fsutil.Dir, atRoot bool, f form, wanted func(name string) bool) (listing, error) {
	l := listing{entries: map[string]fs.DirEntry{}, whiteouts: map[string]bool{}}
	entries, err := dir.List()
	if err == nil && wanted != nil {
		entries, err = dir.Look(entries, wanted)
	}
	if err != nil {
		return l, err
	}
	for _, entry := range entries {
		if err := l.add(dir, entry, atRoot, f); err != nil {
			return l, err
		}
	}
	if f != aufsForm && !l.opaque {
		l.opaque, err = hasOpaqueXattr(dir.Reach("."), f)
	}
	return l, dir.Named(err)
}

// addWhiteout adds a file .wh.<hidden>. In a layer in overlay form one with content is a file that a container has made.
func (l *listing) addWhiteout(dir fsutil.Dir, hidden string, entry fs.DirEntry, f form) error {
	if f != aufsForm {
		info, err := dir.Lstat(entry.Name())
		if err != nil {
			return fsutil.IgnoreGone(err)
		}
		if info.Size() > 0 {
			l.entries[entry.Name()] = entry
			return nil
		}
	}
	l.whiteouts[hidden] = true
	return nil
}

// isOpaque tells if dir, the root directory of a layer in form f, is opaque. No container can change what its path leads to.
func isOpaque(dir string, f form) (bool, error) {
	info, err := os.Lstat(filepath.Join(dir, opaqueMark))
	if err == nil && info.Mode().IsRegular() {
		return true, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) || f == aufsForm {
		return false, fsutil.IgnoreGone(err)
	}
	return hasOpaqueXattr(dir, f)
}

// add sorts one entry of a directory in. A layer in overlay form may hold whiteouts of both forms, if its conversion was
// cut short: both count.
func (l *listing) add(dir fsutil.Dir, entry fs.DirEntry, atRoot bool, f form) error {
	name := entry.Name()
	hidden, isWhiteout := whiteoutOf(name)
	switch {
	case isOwnFileIn(f, atRoot, name):
		return nil
	case name == opaqueMark && entry.Type().IsRegular():
		l.opaque = true
		return nil
	case isWhiteout && entry.Type().IsRegular():
		return l.addWhiteout(dir, hidden, entry, f)
	}
	if f != aufsForm && entry.Type()&fs.ModeCharDevice != 0 {
		info, err := dir.Lstat(name)
		if err != nil {
			return fsutil.IgnoreGone(err)
		}
		if isOverlayWhiteout(info) {
			l.whiteouts[name] = true
			return nil
		}
	}
	l.entries[name] = entry
	return nil
}

// hasOpaqueXattr tells if dir is marked as opaque in overlay form f.
func hasOpaqueXattr(dir string, f form) (bool, error) {
	value, err := fsutil.PathXattrs(dir).Get(f.xattrPrefix() + "opaque")
	if errors.Is(err, unix.ENOTSUP) {
		return false, nil
	}
	return string(value) == "y", err
}
