//go:build linux

package aufs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A layer that is in another form than the backend reads is mounted as it is, between shadows: directories of marks that the backend reads. What
// shadows a layer needs is found out by what is here; shadow.go makes them, and keeps them.
//
//	backend    layer      above it                      below it
//	overlayfs  aufs       a whiteout of each .wh.*      a whiteout of each name that .wh.* deletes, and the opaque directories
//	aufs       overlay    .wh.X for each whiteout X     .wh.X for each name that the layer deletes, or its opaque directories hide
//	                      and the directories with overlayfs's attributes
//	aufs       aufs*      nothing                       the same
//
// * only a layer with opaque directories. Of a directory that is opaque in
// several branches, aufs takes the lowest one for the one that counts (measured with aufs 2024-07-01 on Linux 6.1; au_lkup_dentry in
// fs/aufs/dentry.c, which looks on below an opaque directory that it has not seen before): what the upper ones hide is seen again. So no
// branch but the writable one may have an opaque directory that counts.
//
// A file beside its own whiteout, which aufs hides, is hidden from above as well.
//
// For overlayfs, what is below a layer and what is above its parent can be one directory (see join): each directory of a stack takes it time.

// A shadowTree has the directories of one shadow, by their paths in the layer.
type shadowTree map[string]*shadowMarks

// shadowMarks are the marks of one directory of a shadow.
type shadowMarks struct {
	whiteouts map[string]bool // the names that it deletes
	opaque    bool
	// of is the tree whose directory it stands in for; the zero value is the layer.
	of layerDir
}

// source is the tree whose directory m, of a shadow of layer, stands in for.
func (m *shadowMarks) source(layer layerDir) layerDir {
	if m.of.root == "" {
		return layer
	}
	return m.of
}

// dir is the directory rel, which is added, with those around it, if it is not there.
func (t shadowTree) dir(rel string) *shadowMarks {
	if t[rel] == nil {
		t[rel] = &shadowMarks{whiteouts: map[string]bool{}}
		if rel != "." {
			t.dir(filepath.Dir(rel))
		}
	}
	return t[rel]
}

// dirs are the paths of the directories, each after the one that it is in.
func (t shadowTree) dirs() []string {
	return slices.SortedFunc(maps.Keys(t), parentsFirst)
}

// A shadowPlan says how a layer is to be mounted among the ancestors of a stack.
type shadowPlan struct {
	above, below shadowTree
	// unread: the marks of the layer's own directory are not to count.
	unread bool
	// opaque: no layer below shows through.
	opaque bool
	// stacked: the plan depends on the layers below, and not on the layer alone.
	stacked bool
	// joined: what is below the layer has all that is above its parent.
	joined bool
}

// planShadows finds out what shadows the layer needs in a mount of a backend that reads marks in the form to. below are the layers below it;
// only are the directories that can have marks, if that is known (see markSearch).
func planShadows(layer layerDir, to form, below []layerDir, only []string) (p shadowPlan, err error) {
	p = shadowPlan{above: shadowTree{}, below: shadowTree{}}
	if p.opaque, err = isOpaque(layer.root, layer.form); err != nil {
		return p, err
	}
	if p.opaque {
		// There is nothing below to be hidden.
		below = nil
		defer func() { p.below = shadowTree{} }()
	}
	switch {
	case layer.form == to && to != aufsForm:
		return p, nil
	case layer.form != aufsForm:
		p.unread, p.stacked = true, true
		if err := p.addDevices(layer, "."); err != nil {
			return p, err
		}
	default:
		marked, err := markSearch{root: layer.root, only: only, devices: to == aufsForm}.find()
		if err != nil || to != aufsForm {
			p.addMarks(marked)
			return p, err
		}
		if !p.addBeside(marked) {
			return p, nil
		}
		p.unread, p.stacked = true, true
	}
	return p, p.addHidden(layer, ".", below)
}

// addMarks is for a layer in aufs form that overlayfs mounts.
func (p *shadowPlan) addMarks(marked []markedDir) {
	for _, m := range marked {
		above := p.above.dir(m.rel)
		for _, mark := range m.marks {
			above.whiteouts[mark.Name()] = true
		}
		for _, name := range m.beside {
			above.whiteouts[name] = true
		}
		for _, name := range m.whiteouts() {
			p.below.dir(m.rel).whiteouts[name] = true
		}
		if m.opaque() && m.rel != "." {
			p.below.dir(m.rel).opaque = true
		}
	}
}

// addBeside is for a layer in aufs form that aufs mounts. It tells if the marks of its own directory must not count.
func (p *shadowPlan) addBeside(marked []markedDir) (unread bool) {
	for _, m := range marked {
		for _, name := range m.beside {
			p.above.dir(m.rel).whiteouts[name] = true
		}
		unread = unread || len(m.beside) > 0 || m.opaque() && m.rel != "."
	}
	return unread
}

// addDevices is for a layer in an overlay form that aufs mounts, and whose whiteouts would be files. What is above it stands in for each directory
// that has an attribute of overlayfs as well: aufs would copy that up.
func (p *shadowPlan) addDevices(layer layerDir, rel string) error {
	l, err := readListing(layer.root, rel, layer.form)
	if err != nil {
		return err
	}
	for name := range l.whiteouts {
		p.above.dir(rel).whiteouts[name] = true
	}
	attrs, err := dirXattrs(layer.root, rel)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(attrs, layer.form.ownXattr) {
		p.above.dir(rel)
	}
	for name, entry := range l.entries {
		if entry.IsDir() {
			if err := p.addDevices(layer, filepath.Join(rel, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// dirXattrs are the names of the attributes of the directory rel of the tree at root.
func dirXattrs(root, rel string) ([]string, error) {
	dir, err := fsutil.OpenBelow(root, rel)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	attrs, err := fsutil.ListXattrs(dir.Reach("."))
	return attrs, dir.Named(err)
}

// addHidden adds to what is below the layer the names that it hides in the directory rel, which the layers below it have as well, and in those
// directories of it that they have. aufs then goes by that alone.
func (p *shadowPlan) addHidden(layer layerDir, rel string, below []layerDir) error {
	own, err := readListing(layer.root, rel, layer.form)
	if err != nil {
		return err
	}
	before, err := readMerged(below, rel, nil)
	if err != nil {
		return err
	}
	hidden := own.whiteouts
	if own.opaque {
		hidden = before.names()
	}
	for name := range hidden {
		if before.shows(name) {
			p.below.dir(rel).whiteouts[name] = true
		}
	}
	if own.opaque {
		// All that the layers below have here is hidden by that.
		return nil
	}
	for name, entry := range own.entries {
		if !entry.IsDir() || own.whiteouts[name] || !before.shows(name) {
			continue
		}
		if dirs := before.dirs(name); len(dirs) > 0 {
			if err := p.addHidden(layer, filepath.Join(rel, name), dirs); err != nil {
				return err
			}
			continue
		}
		// A directory in the place of a file. Aufs looks for more directories of that name below the file.
		p.below.dir(rel).whiteouts[name] = true
	}
	return nil
}

// join adds to what is below the layer in the directory rel, for overlayfs, what is above its parent: the shadow at dir. Where the layer hides what
// its parent has, there is nothing to be added.
func (p *shadowPlan) join(dir, rel string) error {
	m := p.below[rel]
	if m == nil {
		m = p.below.dir(rel)
		m.of = layerDir{root: dir, form: aufsForm}
	}
	if m.opaque {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(dir, rel))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		below := filepath.Join(rel, entry.Name())
		switch own := p.below[below]; {
		case m.whiteouts[entry.Name()]:
		case entry.IsDir():
			if err := p.join(dir, below); err != nil {
				return err
			}
		case own != nil:
			// The parent has a whiteout beside that directory, which hides it and those of the layers below.
			own.opaque = true
		default:
			m.whiteouts[entry.Name()] = true
		}
	}
	return nil
}

// tooLong is an error if a name cannot be deleted in the form to.
func (p *shadowPlan) tooLong(to form) error {
	if to != aufsForm {
		return nil
	}
	for _, tree := range []shadowTree{p.above, p.below} {
		for rel, dir := range tree {
			for name := range dir.whiteouts {
				if len(name) > unix.NAME_MAX-len(whiteoutPrefix) {
					return fmt.Errorf("%s is too long a name to be deleted with aufs: %w", filepath.Join(rel, name), unix.ENAMETOOLONG)
				}
			}
		}
	}
	return nil
}

// digest names what the plan makes of the layer in the form to: two plans that make the same have the same one. It is "" if they make nothing.
// In a copy of the store it is another one: not every program copies the attributes of directories in shadows.
func (p *shadowPlan) digest(layer layerDir, to form) (string, error) {
	if len(p.above) == 0 && len(p.below) == 0 {
		return "", nil
	}
	var root unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, layer.root, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &root); err != nil && !fsutil.IsForbidden(err) {
		return "", &fs.PathError{Op: "statx", Path: layer.root, Err: err}
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %d %d.%d\n", to, root.Ino, root.Btime.Sec, root.Btime.Nsec)
	for _, tree := range []shadowTree{p.above, p.below} {
		for _, rel := range tree.dirs() {
			fmt.Fprintf(sum, "%q %v", rel, tree[rel].opaque)
			for _, name := range slices.Sorted(maps.Keys(tree[rel].whiteouts)) {
				fmt.Fprintf(sum, " %q", name)
			}
			if err := digestMetadata(sum, tree[rel].source(layer), rel); err != nil {
				return "", err
			}
		}
		fmt.Fprintln(sum)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

// digestMetadata adds to sum what copyMetadata copies of the directory rel of the layer, but for the time of access.
func digestMetadata(sum hash.Hash, layer layerDir, rel string) error {
	dir, err := fsutil.OpenBelow(layer.root, rel)
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := dir.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintf(sum, " %o %d %d %d.%d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
	var attrs []string
	err = eachXattr(dir, layer.form, func(name string, value []byte) error {
		attrs = append(attrs, fmt.Sprintf("%q=%q", name, value))
		return nil
	})
	slices.Sort(attrs)
	fmt.Fprintln(sum, strings.Join(attrs, " "))
	return err
}

// make makes the shadow at target, which is not there yet.
func (t shadowTree) make(target string, layer layerDir, to form) error {
	dirs := t.dirs()
	for _, rel := range dirs {
		err := fsutil.MkdirBeneath(target, rel)
		if err == nil {
			err = t.makeMarks(target, rel, to)
		}
		if err != nil {
			return err
		}
	}
	// What is made in a directory changes its times.
	for _, rel := range slices.Backward(dirs) {
		of := t[rel].source(layer)
		if err := copyMetadataBeneath(of.root, rel, of.form, target); err != nil {
			return err
		}
	}
	return nil
}

// makeMarks makes the marks of the directory rel.
func (t shadowTree) makeMarks(target, rel string, to form) error {
	dir, err := fsutil.OpenBelow(target, rel)
	if err != nil {
		return err
	}
	defer dir.Close()
	w, prefix := whiteoutMaker{dir: dir, anew: makeOverlayWhiteout}, ""
	if to == aufsForm {
		w.anew, prefix = makeAufsWhiteout, whiteoutPrefix
	}
	var errs []error
	for name := range t[rel].whiteouts {
		errs = append(errs, w.make(prefix+name))
	}
	if t[rel].opaque {
		errs = append(errs, markOpaque(dir, to))
	}
	return errors.Join(errs...)
}
