//go:build linux

package whiteout

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A layer hides content of its ancestors by whiteouts and opaque directories. These can be in two forms.
//
// Aufs form is the form of archives, and so of image layers. An empty file .wh.X deletes the name X beside it. An empty file .wh..wh..opq
// in a directory hides what ancestors have in that directory (aufs(5); OCI's layers have the same names). Other names that begin with
// .wh..wh. are aufs's own, and no mount of aufs shows them. At the root, they are the names of aufs's own files. Elsewhere, they are the
// names of files that aufs is copying up, or has renamed to remove them (au_whtmp_lkup in fs/aufs/whout.c). Aufs removes these in its own time,
// and a crash leaves them behind.
//
// Overlay form is the form of a layer that overlayfs has mounted writable. A character device 0/0 of the name X deletes X. An opaque
// directory has the extended attribute trusted.overlay.opaque, or user.overlay.opaque, with the value "y"
// (Documentation/filesystems/overlayfs.rst of the kernel).

const (
	// Prefix begins the name of a whiteout. The rest is the name that the whiteout deletes.
	Prefix = ".wh."
	// OpaqueMark is the name of the file that makes a directory opaque.
	OpaqueMark = MetaPrefix + ".opq"
	// MetaPrefix begins OpaqueMark and the names that are aufs's own.
	MetaPrefix = Prefix + Prefix
)

// A Form is the way in which the marks of a layer are written.
type Form string

const (
	// AufsForm is the form of archives, and so of image layers.
	AufsForm Form = "aufs"
	// OverlayTrusted is overlay form with attributes trusted.overlay.*. It is the form for the initial user namespace.
	OverlayTrusted Form = "trusted"
	// OverlayUser is overlay form with attributes user.overlay.*. It goes with the mount option userxattr.
	OverlayUser Form = "user"
)

// XattrPrefix returns the beginning of the names of overlayfs's extended attributes in this form.
func (f Form) XattrPrefix() string {
	return string(f) + ".overlay."
}

// Of returns X for the name .wh.X of a whiteout in aufs form. Aufs's own names, the opaque mark, and names that would delete "." or ".."
// are no whiteouts.
func Of(name string) (string, bool) {
	if strings.HasPrefix(name, MetaPrefix) {
		return "", false
	}
	hidden, ok := strings.CutPrefix(name, Prefix)
	return hidden, ok && hidden != "" && hidden != "." && hidden != ".."
}

// IsOwnFile reports whether name belongs to one of aufs's own files, which are neither content nor whiteouts. It is for names at the root
// of a layer, or anywhere in a layer in aufs form.
func IsOwnFile(name string) bool {
	return strings.HasPrefix(name, MetaPrefix) && name != OpaqueMark
}

// IsOwnFileIn is IsOwnFile for a name in a directory of a layer in form f.
func IsOwnFileIn(f Form, atRoot bool, name string) bool {
	return (atRoot || f == AufsForm) && IsOwnFile(name)
}

// IsOverlay reports whether a file is a whiteout in overlay form.
func IsOverlay(info fs.FileInfo) bool {
	return info.Mode()&fs.ModeCharDevice != 0 && fsutil.StatOf(info).Rdev == 0
}

// A Listing is one directory of a layer, with its whiteouts separated from its content.
type Listing struct {
	// Entries has the content, by name. A layer in aufs form does not show a file that is beside its own whiteout. A layer in overlay form
	// does: a container has made the whiteout, as a file.
	Entries map[string]fs.DirEntry
	// Whiteouts are the names of the ancestors' files that are deleted.
	Whiteouts map[string]bool
	// Opaque says that the directory hides what ancestors have in it.
	Opaque bool
}

// ReadListing reads the directory rel ("." is the root) of the layer at root, which is in form f.
func ReadListing(root, rel string, f Form) (Listing, error) {
	return listDirectory(root, rel, f, nil)
}

// ReadListingLook is ReadListing with a look at each file. While a container may be changing the layer, only a look through the open
// directory tells what a file is.
func ReadListingLook(root, rel string, f Form) (Listing, error) {
	return listDirectory(root, rel, f, func(string) bool { return true })
}

// listDirectory is ReadListing with a look at the files that are wanted.
func listDirectory(root, rel string, f Form, wanted func(name string) bool) (Listing, error) {
	dir, err := fsutil.OpenBelow(root, rel)
	if err != nil {
		return Listing{}, err
	}
	defer dir.Close()
	return listOpened(dir, rel == ".", f, wanted)
}

// listOpened is listDirectory for an open directory.
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
	if f == AufsForm {
		maps.DeleteFunc(l.Entries, func(name string, _ fs.DirEntry) bool { return l.Whiteouts[name] })
	} else if !l.Opaque {
		l.Opaque, err = HasOpaqueXattr(dir.Reach("."), f)
	}
	return l, dir.Named(err)
}

// addWhiteout adds a file .wh.<hidden>. In a layer in overlay form, such a file with content is one that a container has made.
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

// IsOpaque reports whether dir, a directory of a layer in form f, is opaque. dir is the root of the layer, or a path through an open directory:
// no container can change what such a path leads to.
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

// add adds one entry of a directory. If the conversion of a layer was cut short, a layer in overlay form may have whiteouts of both forms:
// both count.
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

// HasOpaqueXattr reports whether dir is opaque in overlay form f.
func HasOpaqueXattr(dir string, f Form) (bool, error) {
	value, err := fsutil.PathXattrs(dir).Get(f.XattrPrefix() + "opaque")
	if errors.Is(err, unix.ENOTSUP) {
		return false, nil
	}
	return string(value) == "y", err
}
