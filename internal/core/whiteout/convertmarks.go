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

// ToOverlayForm and ToAufsForm are the inverse of each other. Both work in place. If either was cut short on a layer, both can be called on
// that layer again: marks that already have the new form stay as they are.

// ToOverlayForm converts the marks of the layer at root to overlay form f. marked are the layer's marked directories, all of them (see Search.All).
// It removes the files that aufs has left there for itself, since a container would see them.
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
			if err := entryToOverlay(&w, entry, m.Rel == ".", f); err != nil {
				return true, err
			}
		}
		return true, nil
	})
}

func entryToOverlay(w *Maker, entry fs.DirEntry, atRoot bool, f Form) error {
	dir, name := w.Dir, entry.Name()
	hidden, isWhiteout := Of(name)
	switch {
	case isTemporary(name):
		return dir.RemoveAll(name)
	case atRoot && isHiddenOwnFile(name):
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

// whiteoutToOverlay replaces .wh.<hidden>. It leaves alone a file with content, since aufs makes no such file: a container made it while
// overlayfs had the layer mounted. It also leaves alone a whiteout that stands beside the file that it hides, because overlayfs has no form
// for that.
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

// markWhiteouts makes overlayfs look for whiteouts when it lists a directory. In a directory that only one layer has, overlayfs would not
// look for whiteouts, and would show them, unless the directory has the attribute "origin". An empty attribute means that the origin is not
// known (ovl_get_inode and ovl_get_fh in the kernel's fs/overlayfs).
func markWhiteouts(dir fsutil.Dir, f Form) error {
	err := dir.Named(fsutil.PathXattrs(dir.Reach(".")).Set(f.XattrPrefix()+"origin", nil, unix.XATTR_CREATE))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// MarkOpaque makes a directory opaque in overlay form f.
func MarkOpaque(dir fsutil.Dir, f Form) error {
	return dir.Named(fsutil.PathXattrs(dir.Reach(".")).Set(f.XattrPrefix()+"opaque", []byte("y"), 0))
}

// ToAufsForm converts the marks of the layer at root from overlay form f to aufs form, and removes overlayfs's extended attributes from the
// layer's files.
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
	// Nobody has the layer mounted, so the file can be read by its own path, which is faster.
	names, err := fsutil.ListXattrs(dir.PathOf(name))
	if err == nil && !slices.ContainsFunc(names, f.OwnXattr) {
		return false, nil
	}
	return false, StripXattrs(dir, name, f)
}

// dirToAufs converts an opaque mark of dir from overlay form f to aufs form, and removes overlayfs's extended attributes from dir.
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
	// The attributes go last: if the conversion is cut short in between, the directory must still be opaque.
	return opaque, stripListed(dir, ".", names, f)
}

// A linkedBase is the file that aufs links its whiteouts to, if the layer has such a file with more than one name.
type linkedBase struct {
	inode  uint64 // 0 if there is no such file
	others uint64 // how many names of the file may be something other than whiteouts
}

func lookAtBase(root string) (b linkedBase, err error) {
	st, err := fsutil.LstatOf(filepath.Join(root, Base))
	if err != nil || st.Nlink <= 1 || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return b, fsutil.IgnoreGone(err)
	}
	return linkedBase{st.Ino, uint64(st.Nlink)}, nil //nolint:unconvert // its type depends on the architecture
}

// count subtracts from others the names of the file that are whiteouts in one directory.
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

// hide renames the file if one of its names is not a whiteout. In that case a container has made the file, and each whiteout that aufs
// makes would become another name of it.
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
