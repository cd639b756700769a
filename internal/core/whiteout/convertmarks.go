//go:build linux

package whiteout

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// ToOverlayForm and ToAufsForm are inverse to each other. Both work in place, and can be called again on a layer on which either was cut
// short: what is in the form asked for stays as it is.

// ToOverlayForm writes the marks of the layer at root, whose marked directories these are, in overlay form f. It removes what aufs
// has left there for itself, which a container would see.
func ToOverlayForm(root string, marked []MarkedDir, f Form) error {
	t := fsutil.Tree{Root: root}
	defer t.Close()
	for _, m := range marked {
		if err := dirToOverlay(&t, m, f); err != nil {
			return err
		}
	}
	return nil
}

func dirToOverlay(t *fsutil.Tree, m MarkedDir, f Form) error {
	dir, err := t.Open(m.Rel)
	if err != nil {
		return err
	}
	defer dir.Close()
	return fsutil.KeepTimesOf(dir, &m.st, func() (bool, error) {
		if m.Rel == "." {
			if err := DropOwnFiles(dir); err != nil {
				return true, err
			}
		}
		w := Maker{Dir: dir, Anew: MakeOverlay}
		for _, entry := range m.Marks {
			if err := entryToOverlay(&w, entry, f); err != nil {
				return true, err
			}
		}
		return true, nil
	})
}

func entryToOverlay(w *Maker, entry fs.DirEntry, f Form) error {
	dir, name := w.Dir, entry.Name()
	hidden, isWhiteout := Of(name)
	switch {
	case isRemoval(name):
		return dir.RemoveAll(name)
	case strings.Contains(name, HiddenMark):
		return showOwnFile(dir, name)
	case isOpaqueMark(entry):
		if err := MarkOpaque(dir, f); err != nil {
			return err
		}
		return dir.Remove(name)
	case isWhiteout && entry.Type().IsRegular():
		return whiteoutToOverlay(w, hidden, entry, f)
	}
	return nil
}

// whiteoutToOverlay replaces .wh.<hidden>. One with content is not what aufs makes: it is a file of that name from a time
// when overlayfs had the layer mounted, and is left alone. So is one that stands beside the file that it hides, for
// which overlayfs has no form.
func whiteoutToOverlay(w *Maker, hidden string, entry fs.DirEntry, f Form) error {
	info, err := w.Dir.Lstat(entry.Name())
	if err != nil || info.Size() > 0 {
		return err
	}
	if !w.begun {
		if err := markWhiteouts(w.Dir, f); err != nil {
			return err
		}
		w.begun = true
	}
	err = w.Make(hidden)
	if errors.Is(err, unix.EEXIST) {
		there, serr := w.Dir.Lstat(hidden)
		if serr != nil || !IsOverlay(there) {
			return serr
		}
		err = nil
	}
	if err != nil {
		return err
	}
	return w.Dir.Remove(entry.Name())
}

// markWhiteouts has overlayfs look for whiteouts when it lists a directory. In one that a single layer has it would not, and
// show them, were it not for the attribute "origin"; an empty one means that the origin is not known (ovl_get_inode and
// ovl_get_fh in the kernel's fs/overlayfs).
func markWhiteouts(dir fsutil.Dir, f Form) error {
	err := dir.Named(fsutil.PathXattrs(dir.Reach(".")).Set(f.XattrPrefix()+"origin", nil, unix.XATTR_CREATE))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// MarkOpaque makes a directory opaque, in overlay form f.
func MarkOpaque(dir fsutil.Dir, f Form) error {
	return dir.Named(fsutil.PathXattrs(dir.Reach(".")).Set(f.XattrPrefix()+"opaque", []byte("y"), 0))
}

// ToAufsForm writes the marks of the layer at root, which are in overlay form f, in aufs form, and takes overlayfs's
// extended attributes from its files.
func ToAufsForm(root string, f Form) error {
	base, err := lookAtBase(root)
	if err != nil {
		return err
	}
	err = EachDir(root, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
		changed := false
		if err := base.count(dir, entries); err != nil {
			return false, err
		}
		w := Maker{Dir: dir, Anew: MakeAufs}
		for _, entry := range entries {
			c, err := entryToAufs(&w, entry, f)
			changed = changed || c
			if err != nil {
				return changed, err
			}
		}
		c, err := dirToAufs(dir, f)
		return changed || c, err
	})
	if err != nil {
		return err
	}
	return base.hide(root)
}

func entryToAufs(w *Maker, entry fs.DirEntry, f Form) (changed bool, err error) {
	if entry.IsDir() {
		return false, nil
	}
	dir, name := w.Dir, entry.Name()
	if entry.Type()&fs.ModeCharDevice != 0 {
		info, err := dir.Lstat(name)
		if err != nil {
			return false, err
		}
		if IsOverlay(info) {
			err := w.Make(Prefix + name)
			if errors.Is(err, unix.EEXIST) {
				err = checkMark(dir, Prefix+name)
			}
			if err != nil {
				return false, err
			}
			return true, dir.Remove(name)
		}
	}
	// Nothing has the layer mounted, and its own path is the faster one to read by.
	names, err := fsutil.ListXattrs(dir.PathOf(name))
	if err == nil && !slices.ContainsFunc(names, f.OwnXattr) {
		return false, nil
	}
	return false, StripXattrs(dir, name, f)
}

// dirToAufs marks dir as opaque in aufs form if it is so in overlay form.
func dirToAufs(dir fsutil.Dir, f Form) (changed bool, err error) {
	names, err := fsutil.ListXattrs(dir.Reach("."))
	if err != nil {
		return false, dir.Named(err)
	}
	opaque := false
	if slices.Contains(names, f.XattrPrefix()+"opaque") {
		if opaque, err = HasOpaqueXattr(dir.Reach("."), f); err != nil {
			return false, dir.Named(err)
		}
	}
	if opaque {
		if err := MakeMark(dir, OpaqueMark); err != nil {
			return false, err
		}
	}
	// After that: cut short in between, the directory must not lose the mark.
	return opaque, stripListed(dir, ".", names, f)
}

// linkedBase is the file that aufs links its whiteouts to, if the layer has one with other names.
type linkedBase struct {
	inode  uint64 // 0: there is none
	others uint64 // how many of its names are not known to be those of whiteouts
}

func lookAtBase(root string) (b linkedBase, err error) {
	st, err := fsutil.LstatOf(filepath.Join(root, Base))
	if err != nil || st.Nlink <= 1 || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return b, fsutil.IgnoreGone(err)
	}
	return linkedBase{st.Ino, uint64(st.Nlink)}, nil
}

// count looks for its names among the whiteouts of a directory.
func (b *linkedBase) count(dir fsutil.Dir, entries []fs.DirEntry) error {
	for _, entry := range entries {
		if b.inode == 0 || !strings.HasPrefix(entry.Name(), Prefix) || entry.IsDir() {
			continue
		}
		info, err := dir.Lstat(entry.Name())
		if err != nil {
			return err
		}
		if info.St.Ino == b.inode {
			b.others--
		}
	}
	return nil
}

// hide gives it another name if it has one that is no whiteout's: a container has made it then, and each of aufs's whiteouts would become a name
// of that file.
func (b *linkedBase) hide(root string) error {
	if b.others == 0 {
		return nil
	}
	dir, err := fsutil.OpenReal(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	return HideOwnFile(dir, Base)
}
