//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// toOverlayForm and toAufsForm are inverse to each other. Both work in place, and both may be called again on a layer on
// which either was cut short: what is in the form asked for already stays as it is.

// toOverlayForm writes the whiteouts of the layer at root in overlay form f. aufs's own files go to aside, so that no
// container sees them.
func toOverlayForm(root string, f form, aside string) error {
	return eachDir(root, func(dir string, atRoot bool, entries []fs.DirEntry) (bool, error) {
		changed := false
		for _, entry := range entries {
			c, err := entryToOverlay(dir, entry, atRoot, f, aside)
			changed = changed || c
			if err != nil {
				return changed, err
			}
		}
		return changed, nil
	})
}

func entryToOverlay(dir string, entry fs.DirEntry, atRoot bool, f form, aside string) (changed bool, err error) {
	name := entry.Name()
	path := filepath.Join(dir, name)
	hidden, isWhiteout := whiteoutOf(name)
	switch {
	case atRoot && isOwnFile(name):
		return true, putAside(path, aside)
	case name == archive.WhiteoutOpaqueDir && entry.Type().IsRegular():
		if err := system.Lsetxattr(dir, f.xattrPrefix()+"opaque", []byte("y"), 0); err != nil {
			return false, err
		}
		return true, os.Remove(path)
	case isWhiteout && entry.Type().IsRegular():
		return whiteoutToOverlay(dir, hidden, entry, f)
	}
	return false, nil
}

// whiteoutToOverlay replaces .wh.<hidden>. One with content is not what aufs makes: it is a file of that name from a time
// when overlayfs had the layer mounted, and is left alone. So is one that stands beside the file that it hides, of
// which overlayfs has no way to tell.
func whiteoutToOverlay(dir, hidden string, entry fs.DirEntry, f form) (changed bool, err error) {
	info, err := entry.Info()
	if err != nil || info.Size() > 0 {
		return false, err
	}
	if err := markWhiteouts(dir, f); err != nil {
		return false, err
	}
	target := filepath.Join(dir, hidden)
	err = unix.Mknod(target, unix.S_IFCHR, 0)
	if errors.Is(err, unix.EEXIST) {
		there, serr := os.Lstat(target)
		if serr != nil || !isOverlayWhiteout(there) {
			return false, serr
		}
		err = nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "making the whiteout", Path: target, Err: err}
	}
	return true, os.Remove(filepath.Join(dir, entry.Name()))
}

// markWhiteouts has overlayfs look for whiteouts when it lists a directory. In one that a single layer has it would not, and
// show them, were it not for the attribute "origin"; an empty one means that the origin is not known (ovl_get_inode and
// ovl_get_fh in the kernel's fs/overlayfs).
func markWhiteouts(dir string, f form) error {
	err := system.Lsetxattr(dir, f.xattrPrefix()+"origin", nil, unix.XATTR_CREATE)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// putAside moves one of aufs's own files out of the layer.
func putAside(path, aside string) error {
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	target := filepath.Join(aside, filepath.Base(path))
	// One from before is older than that in the layer.
	if err := removeAll(target); err != nil {
		return err
	}
	return os.Rename(path, target)
}

// toAufsForm writes the whiteouts of the layer at root, which are in overlay form f, in aufs form; takes overlayfs's
// extended attributes from its files; and gives it back aufs's own files from aside.
func toAufsForm(root string, f form, aside string) error {
	err := eachDir(root, func(dir string, _ bool, entries []fs.DirEntry) (bool, error) {
		changed := false
		for _, entry := range entries {
			c, err := entryToAufs(dir, entry, f)
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

func entryToAufs(dir string, entry fs.DirEntry, f form) (changed bool, err error) {
	if entry.IsDir() {
		return false, nil
	}
	path := filepath.Join(dir, entry.Name())
	if entry.Type()&fs.ModeCharDevice != 0 {
		info, err := entry.Info()
		if err != nil {
			return false, err
		}
		if isOverlayWhiteout(info) {
			if err := makeMark(filepath.Join(dir, archive.WhiteoutPrefix+entry.Name())); err != nil {
				return false, err
			}
			return true, os.Remove(path)
		}
	}
	return false, stripXattrs(path, f)
}

// dirToAufs marks dir as opaque in aufs form if it is so in overlay form.
func dirToAufs(dir string, f form) (changed bool, err error) {
	opaque, err := hasOpaqueXattr(dir, f)
	if err != nil {
		return false, err
	}
	if opaque {
		if err := makeMark(filepath.Join(dir, archive.WhiteoutOpaqueDir)); err != nil {
			return false, err
		}
	}
	// After that: cut short in between, the directory must not lose the mark.
	return opaque, stripXattrs(dir, f)
}

// makeMark makes a whiteout, or the mark of an opaque directory, of aufs form: an empty file with the mode that aufs
// gives them.
func makeMark(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o444)
	if err == nil {
		return file.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	there, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !there.Mode().IsRegular() || there.Size() > 0 {
		return &fs.PathError{Op: "making the whiteout", Path: path, Err: errors.New("something else is there")}
	}
	return nil
}

// stripXattrs removes the attributes that overlayfs has set on path for itself, in any of forms. Those of an overlayfs mounted inside of the
// layer, which the outer one writes with its own prefix twice, are the layer's content.
func stripXattrs(path string, forms ...form) error {
	names, err := system.Llistxattr(path)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(forms, func(f form) bool {
			own, ok := strings.CutPrefix(name, f.xattrPrefix())
			return ok && !strings.HasPrefix(own, "overlay.")
		}) {
			continue
		}
		if err := unix.Lremovexattr(path, name); err != nil {
			return &fs.PathError{Op: "removing the attribute " + name + " from", Path: path, Err: err}
		}
	}
	return nil
}

// bringBack moves aufs's own files from aside into the layer at root again.
func bringBack(root, aside string) error {
	entries, err := os.ReadDir(aside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return keepTimes(root, func() (bool, error) {
		for _, entry := range entries {
			// What a container has made under such a name is its own; aufs can do without what it had there.
			if _, err := os.Lstat(filepath.Join(root, entry.Name())); !errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err := os.Rename(filepath.Join(aside, entry.Name()), filepath.Join(root, entry.Name())); err != nil {
				return true, err
			}
		}
		return true, removeAll(aside)
	})
}

// eachDir calls visit for the directory at root and each one below it, parents first, and puts the times of those that it
// changed back to what they were. The path dir is one to use in calls; atRoot tells that it is root's. It goes not into
// aufs's own directories at the root.
func eachDir(root string, visit func(dir string, atRoot bool, entries []fs.DirEntry) (changed bool, err error)) error {
	return eachDirBelow(root, ".", visit)
}

func eachDirBelow(root, rel string, visit func(dir string, atRoot bool, entries []fs.DirEntry) (changed bool, err error)) error {
	entries, err := readDirBeneath(root, rel)
	if err != nil {
		return err
	}
	dir, done, err := reachable(root, rel)
	if err != nil {
		return err
	}
	err = keepTimes(dir, func() (bool, error) { return visit(dir, rel == ".", entries) })
	done()
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || rel == "." && isOwnFile(entry.Name()) {
			continue
		}
		// visit may have removed it.
		if err := eachDirBelow(root, filepath.Join(rel, entry.Name()), visit); ignoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// keepTimes calls change and, if that changed the directory dir, restores its times of access and modification.
func keepTimes(dir string, change func() (bool, error)) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st := statOf(info)
	changed, err := change()
	if changed {
		err = errors.Join(err, copyTimes(dir, st))
	}
	return err
}

// findMarks tells if a layer in aufs form at root has any whiteout, opaque directory or file of aufs's own. A character
// device 0/0 in it is an error: overlayfs would take it for a whiteout.
func findMarks(root string) (found bool, err error) { return findMarksIn(root, ".") }

func findMarksIn(root, rel string) (found bool, err error) {
	entries, err := readDirBeneath(root, rel)
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		name := entry.Name()
		found = found || strings.HasPrefix(name, archive.WhiteoutPrefix)
		if rel == "." && isOwnFile(name) {
			continue
		}
		if !entry.IsDir() {
			err = refuseDevice(filepath.Join(root, rel, name), entry)
		} else {
			var below bool
			below, err = findMarksIn(root, filepath.Join(rel, name))
			found = found || below
		}
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// refuseDevice is an error if a file of a layer in aufs form is a character device 0/0.
func refuseDevice(path string, entry fs.DirEntry) error {
	if entry.Type()&fs.ModeCharDevice == 0 {
		return nil
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	if isOverlayWhiteout(info) {
		return fmt.Errorf("%s is a character device 0/0, which overlayfs takes for a whiteout: such a layer can be mounted with aufs only", path)
	}
	return nil
}
