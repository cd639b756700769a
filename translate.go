//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// toOverlayForm and toAufsForm are inverse to each other. Both work in place, and both may be called again on a layer on
// which either was cut short: what is in the form asked for already stays as it is.

// toOverlayForm writes the whiteouts of the layer at root, which are in the directories that findMarks has returned, in overlay
// form f. aufs's own files go to aside, so that no container sees them. shared is that of a whiteoutMaker.
func toOverlayForm(root string, marked *markedDir, f form, aside, shared string) error {
	return marked.each(root, func(dir openedDir, atRoot bool, entries []fs.DirEntry) (bool, error) {
		changed := false
		w := whiteoutMaker{dir: dir, anew: makeOverlayWhiteout, shared: shared}
		for _, entry := range entries {
			c, err := entryToOverlay(&w, entry, atRoot, f, aside)
			changed = changed || c
			if err != nil {
				return changed, err
			}
		}
		return changed, nil
	})
}

func entryToOverlay(w *whiteoutMaker, entry fs.DirEntry, atRoot bool, f form, aside string) (changed bool, err error) {
	dir, name := w.dir, entry.Name()
	hidden, isWhiteout := whiteoutOf(name)
	switch {
	case atRoot && isOwnFile(name):
		return true, putAside(dir, name, aside)
	case name == archive.WhiteoutOpaqueDir && entry.Type().IsRegular():
		if err := markOpaque(dir, f); err != nil {
			return false, err
		}
		return true, dir.remove(name)
	case isWhiteout && entry.Type().IsRegular():
		return whiteoutToOverlay(w, hidden, entry, f)
	}
	return false, nil
}

// whiteoutToOverlay replaces .wh.<hidden>. One with content is not what aufs makes: it is a file of that name from a time
// when overlayfs had the layer mounted, and is left alone. So is one that stands beside the file that it hides, of
// which overlayfs has no way to tell.
func whiteoutToOverlay(w *whiteoutMaker, hidden string, entry fs.DirEntry, f form) (changed bool, err error) {
	info, err := w.dir.lstat(entry.Name())
	if err != nil || info.Size() > 0 {
		return false, err
	}
	if !w.begun {
		if err := markWhiteouts(w.dir, f); err != nil {
			return false, err
		}
		w.begun = true
	}
	err = w.make(hidden)
	if errors.Is(err, unix.EEXIST) {
		there, serr := w.dir.lstat(hidden)
		if serr != nil || !isOverlayWhiteout(there) {
			return false, serr
		}
		err = nil
	}
	if err != nil {
		return false, err
	}
	return true, w.dir.remove(entry.Name())
}

// markWhiteouts has overlayfs look for whiteouts when it lists a directory. In one that a single layer has it would not, and
// show them, were it not for the attribute "origin"; an empty one means that the origin is not known (ovl_get_inode and
// ovl_get_fh in the kernel's fs/overlayfs).
func markWhiteouts(dir openedDir, f form) error {
	err := dir.named(system.Lsetxattr(dir.reach("."), f.xattrPrefix()+"origin", nil, unix.XATTR_CREATE))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// markOpaque makes a directory opaque, in overlay form f.
func markOpaque(dir openedDir, f form) error {
	return dir.named(system.Lsetxattr(dir.reach("."), f.xattrPrefix()+"opaque", []byte("y"), 0))
}

// putAside moves one of aufs's own files out of the layer, whose root directory is open.
func putAside(root openedDir, name, aside string) error {
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	target := filepath.Join(aside, name)
	// One from before is older than that in the layer.
	if err := removeAll(target); err != nil {
		return err
	}
	return root.rename(name, anywhere, target)
}

// toAufsForm writes the whiteouts of the layer at root, which are in overlay form f, in aufs form; takes overlayfs's
// extended attributes from its files; and gives it back aufs's own files from aside.
func toAufsForm(root string, f form, aside string) error {
	err := eachDir(root, func(dir openedDir, _ bool, entries []fs.DirEntry) (bool, error) {
		changed := false
		w := whiteoutMaker{dir: dir, anew: makeAufsWhiteout}
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
	return bringBack(root, aside)
}

func entryToAufs(w *whiteoutMaker, entry fs.DirEntry, f form) (changed bool, err error) {
	if entry.IsDir() {
		return false, nil
	}
	dir, name := w.dir, entry.Name()
	if entry.Type()&fs.ModeCharDevice != 0 {
		info, err := dir.lstat(name)
		if err != nil {
			return false, err
		}
		if isOverlayWhiteout(info) {
			err := w.make(archive.WhiteoutPrefix + name)
			if errors.Is(err, unix.EEXIST) {
				err = checkMark(dir, archive.WhiteoutPrefix+name)
			}
			if err != nil {
				return false, err
			}
			return true, dir.remove(name)
		}
	}
	// Nothing has the layer mounted, and its own path is the faster one to read by.
	names, err := listXattrs(dir.pathOf(name))
	if err == nil && !slices.ContainsFunc(names, f.ownXattr) {
		return false, nil
	}
	return false, stripXattrs(dir, name, f)
}

// dirToAufs marks dir as opaque in aufs form if it is so in overlay form.
func dirToAufs(dir openedDir, f form) (changed bool, err error) {
	names, err := listXattrs(dir.reach("."))
	if err != nil {
		return false, dir.named(err)
	}
	opaque := false
	if slices.Contains(names, f.xattrPrefix()+"opaque") {
		if opaque, err = hasOpaqueXattr(dir.reach("."), f); err != nil {
			return false, dir.named(err)
		}
	}
	if opaque {
		if err := makeMark(dir, archive.WhiteoutOpaqueDir); err != nil {
			return false, err
		}
	}
	// After that: cut short in between, the directory must not lose the mark.
	return opaque, stripListed(dir, ".", names, f)
}

// bringBack moves aufs's own files from aside into the layer at root again. What a container has made under their names meanwhile is
// not aufs's.
func bringBack(root, aside string) error {
	entries, err := os.ReadDir(aside)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	base, berr := lstatOf(filepath.Join(root, whiteoutBase))
	linked := berr == nil && base.Nlink > 1
	if errors.Is(err, fs.ErrNotExist) && !linked {
		return nil
	}
	dir, err := openReal(root)
	if err != nil {
		return err
	}
	defer dir.close()
	if linked {
		// Aufs would make each whiteout one more name of that file.
		if err := hideOwnFile(dir, whiteoutBase); err != nil {
			return err
		}
	}
	return keepTimes(dir, func() (bool, error) {
		for _, entry := range entries {
			if err := bringOneBack(dir, aside, entry.Name()); err != nil {
				return true, err
			}
		}
		return true, removeAll(aside)
	})
}

// bringOneBack is bringBack of one file.
func bringOneBack(root openedDir, aside, name string) error {
	there, err := root.exists(name)
	if err != nil {
		return err
	}
	if there {
		if !slices.Contains(ownFileNames, name) {
			// Aufs can do without what it had there.
			return nil
		}
		if err := hideOwnFile(root, name); err != nil {
			return err
		}
	}
	return anywhere.rename(filepath.Join(aside, name), root, name)
}

// A visitDir is called with a directory that is open for as long as it is visited; atRoot tells that it is that of the layer.
type visitDir func(dir openedDir, atRoot bool, entries []fs.DirEntry) (changed bool, err error)

// eachDir calls visit for the directory at root and each one below it, parents first, and puts the times of those that it
// changed back to what they were. It goes not into aufs's own directories at the root.
func eachDir(root string, visit visitDir) error {
	t := walkedTree{root: root}
	defer t.close()
	return eachDirBelow(&t, ".", visit)
}

func eachDirBelow(t *walkedTree, rel string, visit visitDir) error {
	entries, err := t.visit(rel, visit)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || rel == "." && isOwnFile(entry.Name()) {
			continue
		}
		// visit may have removed it.
		if err := eachDirBelow(t, filepath.Join(rel, entry.Name()), visit); ignoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// visit calls visit for one directory, and returns what was in it.
func (t *walkedTree) visit(rel string, visit visitDir) ([]fs.DirEntry, error) {
	dir, err := t.open(rel)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	listed, err := dir.listed()
	if err != nil {
		return nil, err
	}
	return listed.entries, keepTimesOf(dir, &listed.st, func() (bool, error) { return visit(dir, rel == ".", listed.entries) })
}

// visitListed calls visit for one directory, of which this was listed.
func (t *walkedTree) visitListed(rel string, listed listedDir, visit visitDir) error {
	dir, err := t.open(rel)
	if err != nil {
		return err
	}
	defer dir.close()
	return keepTimesOf(dir, &listed.st, func() (bool, error) { return visit(dir, rel == ".", listed.entries) })
}

// keepTimes calls change and, if that changed the directory dir, restores its times of access and modification.
func keepTimes(dir openedDir, change func() (bool, error)) error {
	st, err := dir.stat()
	if err != nil {
		return err
	}
	return keepTimesOf(dir, &st, change)
}

// keepTimesOf is keepTimes for a directory that has the times in st.
func keepTimesOf(dir openedDir, st *syscall.Stat_t, change func() (bool, error)) error {
	changed, err := change()
	if changed {
		err = errors.Join(err, dir.setTimes(st))
	}
	return err
}
