//go:build linux

package whiteout

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
	// Prefix begins the name of a whiteout: the rest is the name that it deletes.
	Prefix = ".wh."
	// OpaqueMark is the name of the file that makes a directory opaque.
	OpaqueMark = MetaPrefix + ".opq"
	// MetaPrefix begins the names that are aufs's own, and OpaqueMark.
	MetaPrefix = Prefix + Prefix
)

// Form is the way that the whiteouts of a layer are written.
type Form string

const (
	// AufsForm is the one of archives, and so of image layers.
	AufsForm Form = "aufs"
	// OverlayTrusted is overlay form with attributes trusted.overlay.*: that of the initial user namespace.
	OverlayTrusted Form = "trusted"
	// OverlayUser is overlay form with attributes user.overlay.*: that of the mount option userxattr.
	OverlayUser Form = "user"
)

// XattrPrefix is what the names of overlayfs's extended attributes begin with in this form.
func (f Form) XattrPrefix() string {
	return string(f) + ".overlay."
}

// Of returns X for the name .wh.X of a whiteout in aufs form. Names of aufs's own, the mark of an opaque directory, and
// what would delete "." or ".." are no whiteouts.
func Of(name string) (string, bool) {
	if strings.HasPrefix(name, MetaPrefix) {
		return "", false
	}
	hidden, ok := strings.CutPrefix(name, Prefix)
	return hidden, ok && hidden != "" && hidden != "." && hidden != ".."
}

// IsOwnFile tells if name, at the root of a layer, or anywhere in one in aufs form, is that of one of aufs's own files: neither
// content nor a whiteout.
func IsOwnFile(name string) bool {
	return strings.HasPrefix(name, MetaPrefix) && name != OpaqueMark
}

// IsOwnFileIn is IsOwnFile for a name in a directory of a layer in form f.
func IsOwnFileIn(f Form, atRoot bool, name string) bool {
	return (atRoot || f == AufsForm) && IsOwnFile(name)
}

// IsOverlay tells if a file is a whiteout of overlay form.
func IsOverlay(info fs.FileInfo) bool {
	return info.Mode()&fs.ModeCharDevice != 0 && fsutil.StatOf(info).Rdev == 0
}

// Listing is one directory of a layer, its whiteouts told apart from its content.
type Listing struct {
	// Entries is the content, by name.
	Entries map[string]fs.DirEntry
	// Whiteouts are the names that are deleted.
	Whiteouts map[string]bool
	// Opaque: what ancestors have in this directory is hidden.
	Opaque bool
}

// ReadListing reads the directory rel ("." is the root) of the layer at root, which is in form f.
func ReadListing(root, rel string, f Form) (Listing, error) {
	return listDirectory(root, rel, f, nil)
}

// ReadListingLook is ReadListing that has looked at each file: nobody but the open directory can tell what a file is, where a container
// may be at work.
func ReadListingLook(root, rel string, f Form) (Listing, error) {
	return listDirectory(root, rel, f, func(string) bool { return true })
}

// listDirectory is ReadListing, which looks at those files that are wanted.
func listDirectory(root, rel string, f Form, wanted func(name string) bool) (Listing, error) {
	dir, err := fsutil.OpenBelow(root, rel)
	if err != nil {
		return Listing{}, err
	}
	defer dir.Close()
	return listOpened(dir, rel == ".", f, wanted)
}

// listOpened is listDirectory of an open directory.
func listOpened(dir fsutil.Dir, atRoot bool, f Form, wanted func(name string) bool) (Listing, error) {
	l := Listing{Entries: map[string]fs.DirEntry{}, Whiteouts: map[string]bool{}}
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
	if f != AufsForm && !l.Opaque {
		l.Opaque, err = HasOpaqueXattr(dir.Reach("."), f)
	}
	return l, dir.Named(err)
}

// addWhiteout adds a file .wh.<hidden>. In a layer in overlay form one with content is a file that a container has made.
func (l *Listing) addWhiteout(dir fsutil.Dir, hidden string, entry fs.DirEntry, f Form) error {
	if f != AufsForm {
		info, err := dir.Lstat(entry.Name())
		if err != nil {
			return fsutil.IgnoreGone(err)
		}
		if info.Size() > 0 {
			l.Entries[entry.Name()] = entry
			return nil
		}
	}
	l.Whiteouts[hidden] = true
	return nil
}

// IsOpaque tells if dir, the root directory of a layer in form f, is opaque. No container can change what its path leads to.
func IsOpaque(dir string, f Form) (bool, error) {
	info, err := os.Lstat(filepath.Join(dir, OpaqueMark))
	if err == nil && info.Mode().IsRegular() {
		return true, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) || f == AufsForm {
		return false, fsutil.IgnoreGone(err)
	}
	return HasOpaqueXattr(dir, f)
}

// add sorts one entry of a directory in. A layer in overlay form may hold whiteouts of both forms, if its conversion was
// cut short: both count.
func (l *Listing) add(dir fsutil.Dir, entry fs.DirEntry, atRoot bool, f Form) error {
	name := entry.Name()
	hidden, isWhiteout := Of(name)
	switch {
	case IsOwnFileIn(f, atRoot, name):
		return nil
	case name == OpaqueMark && entry.Type().IsRegular():
		l.Opaque = true
		return nil
	case isWhiteout && entry.Type().IsRegular():
		return l.addWhiteout(dir, hidden, entry, f)
	}
	if f != AufsForm && entry.Type()&fs.ModeCharDevice != 0 {
		info, err := dir.Lstat(name)
		if err != nil {
			return fsutil.IgnoreGone(err)
		}
		if IsOverlay(info) {
			l.Whiteouts[name] = true
			return nil
		}
	}
	l.Entries[name] = entry
	return nil
}

// HasOpaqueXattr tells if dir is marked as opaque in overlay form f.
func HasOpaqueXattr(dir string, f Form) (bool, error) {
	value, err := fsutil.PathXattrs(dir).Get(f.XattrPrefix() + "opaque")
	if errors.Is(err, unix.ENOTSUP) {
		return false, nil
	}
	return string(value) == "y", err
}
