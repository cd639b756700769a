//go:build linux

package aufs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/system"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Convert brings each layer of the store at home, a driver's home directory, into aufs form, so that the storage library's own aufs driver,
// and the host's aufs without any driver, can use it. It mounts no layer, and can be called again.
//
// A layer that is mounted anywhere, or has a child that is, stays as it is: the error matches unix.EBUSY, and errors.As finds a *BusyError.
// So does a layer that has no aufs form; the error names the file. The others are converted all the same. If ctx ends, Convert stops after
// the layer that it is at.
func Convert(ctx context.Context, home string) error {
	c, err := newCheck(home)
	if err == nil {
		err = c.withoutOthers(func() ([]*scratch, error) { return c.d.migrate() })
	}
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(c.d.home.overlay(formDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("aufs: converting: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, c.d.convertToAufs(entry.Name()))
	}
	return errors.Join(errs...)
}

// convertToAufs is Convert of one layer.
func (d *Driver) convertToAufs(id string) error {
	if !d.home.exists(id) {
		return nil
	}
	lock, err := d.home.lockLayer("converting", id)
	if err != nil {
		return err
	}
	defer lock.unlock()
	return d.forms.toAufs(id)
}

// A converter brings layers from one form to the other. It changes no layer that a mount is using.
type converter struct {
	home  home
	users *users
}

func newConverter(h home, runRoot string) *converter {
	return &converter{home: h, users: newUsers(h, runRoot)}
}

// toAufs brings the layer id into aufs form, if it is in another one. The caller holds its lock.
func (c *converter) toAufs(id string) error {
	r, err := c.home.readForm(id)
	if err != nil || !r.isOverlay() {
		return err
	}
	if !r.converting && c.isUnused(id) {
		return c.home.unsetForm(id)
	}
	if err := c.toAufsFrom(id, r); err != nil {
		return layerError("converting", id, err)
	}
	return nil
}

// isUnused tells if the layer id is as CreateReadWrite makes it: empty, and never mounted.
func (c *converter) isUnused(id string) bool {
	if isThere(c.home.besideDiff().overlay(workDir, id)) {
		return false
	}
	entries, err := os.ReadDir(c.home.diff(id))
	return err == nil && len(entries) == 0
}

func (c *converter) toAufsFrom(id string, r formRecord) error {
	if err := mustRead(r.form); err != nil {
		return err
	}
	if err := c.users.idle(id); err != nil {
		return err
	}
	err := mustHaveAufsForm(c.home.diff(id), r.form)
	if err == nil && !r.converting {
		if err := c.begin(id, r.form, r); err != nil {
			return err
		}
		r.converting = true
	}
	if err == nil {
		err = toAufsForm(c.home.diff(id), r.form)
	}
	if err != nil {
		err = fmt.Errorf("it cannot be brought into aufs form: %w", err)
		if r.converting {
			err = errors.Join(err, c.finishOverlay(id, r.form))
		}
		return err
	}
	// What the record said of the layer has to be true until the disk has the layer in its new form.
	if err := c.home.sync(); err != nil {
		return err
	}
	if err := c.home.forget(id); err != nil {
		return err
	}
	return c.setAufsForm(id)
}

// setAufsForm makes the record of the layer id, durably, that of one in aufs form.
func (c *converter) setAufsForm(id string) error {
	alone, err := c.home.isBase(id)
	if err != nil {
		return err
	}
	if !alone {
		return c.home.unsetForm(id)
	}
	// Somebody may have been given its directory, and write to it yet.
	return c.home.setForm(id, formRecord{form: aufsForm})
}

// mustRead is an error if this process cannot read the marks of a layer in form f.
func mustRead(f form) error {
	if f != overlayTrusted {
		return nil
	}
	nested, err := inUserNamespace()
	if err == nil && nested {
		err = errors.New("it was mounted outside of this user namespace, whose marks cannot be read in it")
	}
	return err
}

// toOverlay brings the layer id into the overlay form f. The caller holds its lock. unmarked tells if it is known to have no marks, if it is in
// aufs form.
func (c *converter) toOverlay(id string, f form, unmarked func() bool) error {
	r, err := c.home.readForm(id)
	if err != nil || r == (formRecord{form: f}) {
		return err
	}
	if r.isOverlay() && r.form != f {
		if err := c.toAufs(id); err != nil {
			return err
		}
		r = formRecord{}
	}
	if err := c.toOverlayFrom(id, r, f, unmarked); err != nil {
		return layerError("converting", id, err)
	}
	return nil
}

func (c *converter) toOverlayFrom(id string, r formRecord, f form, unmarked func() bool) error {
	// Of aufs only: no mount of overlayfs has an aufs form writable.
	if used, err := c.users.aufsUses(id); err != nil || used {
		return errors.Join(err, c.users.busyIf(used, id))
	}
	if !r.converting {
		marked, err := []markedDir(nil), error(nil)
		if !unmarked() {
			marked, err = markSearch{root: c.home.diff(id)}.find()
		}
		if err != nil {
			return err
		}
		if err := c.home.forget(id); err != nil {
			return err
		}
		if len(marked) == 0 {
			return c.home.setForm(id, formRecord{form: f})
		}
		if err := c.users.idle(id); err != nil {
			return err
		}
		if err := c.begin(id, f, r); err != nil {
			return err
		}
	}
	return c.finishOverlay(id, f)
}

// finishOverlay brings the layer id, whose record says that its conversion was begun, into the overlay form f.
func (c *converter) finishOverlay(id string, f form) error {
	marked, err := markSearch{root: c.home.diff(id), devices: true}.find()
	if err == nil {
		err = toOverlayForm(c.home.diff(id), marked, f)
	}
	if err == nil {
		err = c.home.sync()
	}
	if err != nil {
		return err
	}
	return c.home.setForm(id, formRecord{form: f})
}

// finish makes the layer id one that a backend, which reads the form to, can show between shadows: it brings a conversion that was begun to its
// end, and a layer whose overlay form has other attributes into aufs form. The caller holds its lock.
func (c *converter) finish(id string, to form) error {
	r, err := c.home.readForm(id)
	other := r.isOverlay() && to != aufsForm && r.form != to
	if err != nil || !r.converting && !other {
		return err
	}
	if other {
		return c.toAufs(id)
	}
	if to == aufsForm {
		if err = c.toAufs(id); err == nil {
			return nil
		}
		if r, rerr := c.home.readForm(id); rerr == nil && !r.converting {
			logrus.Debugf("%v", err)
			return nil
		}
		return err
	}
	if err = mustRead(r.form); err == nil {
		err = c.finishOverlay(id, r.form)
	}
	if err != nil {
		return layerError("converting", id, err)
	}
	return nil
}

// toOverlayForm and toAufsForm are inverse to each other. Both work in place, and can be called again on a layer on which either was cut
// short: what is in the form asked for stays as it is.

// toOverlayForm writes the marks of the layer at root, whose marked directories these are, in overlay form f. It removes what aufs
// has left there for itself, which a container would see.
func toOverlayForm(root string, marked []markedDir, f form) error {
	t := walkedTree{root: root}
	defer t.close()
	for _, m := range marked {
		if err := dirToOverlay(&t, m, f); err != nil {
			return err
		}
	}
	return nil
}

func dirToOverlay(t *walkedTree, m markedDir, f form) error {
	dir, err := t.open(m.rel)
	if err != nil {
		return err
	}
	defer dir.close()
	return keepTimesOf(dir, &m.st, func() (bool, error) {
		if m.rel == "." {
			if err := dropOwnFiles(dir); err != nil {
				return true, err
			}
		}
		w := whiteoutMaker{dir: dir, anew: makeOverlayWhiteout}
		for _, entry := range m.marks {
			if err := entryToOverlay(&w, entry, f); err != nil {
				return true, err
			}
		}
		return true, nil
	})
}

func entryToOverlay(w *whiteoutMaker, entry fs.DirEntry, f form) error {
	dir, name := w.dir, entry.Name()
	hidden, isWhiteout := whiteoutOf(name)
	switch {
	case isRemoval(name):
		return dir.removeAll(name)
	case strings.Contains(name, hiddenMark):
		return showOwnFile(dir, name)
	case isOpaqueMark(entry):
		if err := markOpaque(dir, f); err != nil {
			return err
		}
		return dir.remove(name)
	case isWhiteout && entry.Type().IsRegular():
		return whiteoutToOverlay(w, hidden, entry, f)
	}
	return nil
}

// whiteoutToOverlay replaces .wh.<hidden>. One with content is not what aufs makes: it is a file of that name from a time
// when overlayfs had the layer mounted, and is left alone. So is one that stands beside the file that it hides, for
// which overlayfs has no form.
func whiteoutToOverlay(w *whiteoutMaker, hidden string, entry fs.DirEntry, f form) error {
	info, err := w.dir.lstat(entry.Name())
	if err != nil || info.Size() > 0 {
		return err
	}
	if !w.begun {
		if err := markWhiteouts(w.dir, f); err != nil {
			return err
		}
		w.begun = true
	}
	err = w.make(hidden)
	if errors.Is(err, unix.EEXIST) {
		there, serr := w.dir.lstat(hidden)
		if serr != nil || !isOverlayWhiteout(there) {
			return serr
		}
		err = nil
	}
	if err != nil {
		return err
	}
	return w.dir.remove(entry.Name())
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

// toAufsForm writes the marks of the layer at root, which are in overlay form f, in aufs form, and takes overlayfs's
// extended attributes from its files.
func toAufsForm(root string, f form) error {
	base, err := lookAtBase(root)
	if err != nil {
		return err
	}
	err = eachDir(root, func(dir openedDir, _ bool, entries []fs.DirEntry) (bool, error) {
		changed := false
		if err := base.count(dir, entries); err != nil {
			return false, err
		}
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
	return base.hide(root)
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

// linkedBase is the file that aufs links its whiteouts to, if the layer has one with other names.
type linkedBase struct {
	inode  uint64 // 0: there is none
	others uint64 // how many of its names are not known to be those of whiteouts
}

func lookAtBase(root string) (b linkedBase, err error) {
	st, err := lstatOf(filepath.Join(root, whiteoutBase))
	if err != nil || st.Nlink <= 1 || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return b, ignoreGone(err)
	}
	return linkedBase{st.Ino, uint64(st.Nlink)}, nil
}

// count looks for its names among the whiteouts of a directory.
func (b *linkedBase) count(dir openedDir, entries []fs.DirEntry) error {
	for _, entry := range entries {
		if b.inode == 0 || !strings.HasPrefix(entry.Name(), archive.WhiteoutPrefix) || entry.IsDir() {
			continue
		}
		info, err := dir.lstat(entry.Name())
		if err != nil {
			return err
		}
		if info.st.Ino == b.inode {
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
	dir, err := openReal(root)
	if err != nil {
		return err
	}
	defer dir.close()
	return hideOwnFile(dir, whiteoutBase)
}
