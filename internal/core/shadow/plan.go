//go:build linux

package shadow

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// A backend mounts a layer as it is, between shadows: directories of marks that the backend can read. A plan says which shadows a layer
// needs, and makes them; the cache keeps them. The shadow above the layer hides the layer's marks. The shadow below the layer does what the
// marks say.
//
//	backend    layer      above it                      below it
//	overlayfs  aufs       a whiteout of each .wh.*      a whiteout of each name that .wh.* deletes, and the opaque directories
//	aufs       overlay    .wh.X for each whiteout X     .wh.X for each name that the layer deletes, or its opaque directories hide
//	                      and the directories with overlayfs's attributes
//	aufs       aufs*      .wh.X for each file X that    the same
//	                      stands beside its own .wh.X
//
// * only a layer with opaque directories, or with files beside their own whiteouts. If a directory is opaque in several branches, aufs obeys
// only the lowest of them, and shows again what the upper ones hide (measured with aufs 2024-07-01 on Linux 6.1; au_lkup_dentry in
// fs/aufs/dentry.c goes on below an opaque directory that it has not seen before). So only the writable branch may have an opaque directory that
// counts.
//
// In a layer in aufs form, aufs hides a file that stands beside its own whiteout. The shadow above hides such a file as well. Aufs shows nothing
// whose name begins with .wh., so its shadows have nothing under such names.
//
// For overlayfs, the shadow below a layer and the shadow above its parent can be one directory (see Join). That saves time, because each
// directory of a stack costs overlayfs time.

// DirAbove and DirBelow are the names of a layer's two shadows, in the directory that Make makes.
const (
	DirAbove = "above"
	DirBelow = "below"
)

// A Tree has the directories of one shadow, by their paths in the layer.
type Tree map[string]*Marks

// Marks are the marks of one directory of a shadow.
type Marks struct {
	Whiteouts map[string]bool // the names that the directory deletes
	Opaque    bool
	// of is the tree whose directory has the metadata for this directory of the shadow. The zero value stands for the layer.
	of whiteout.LayerDir
}

// source returns the tree from which m, a directory in a shadow of layer, gets its metadata.
func (m *Marks) source(layer whiteout.LayerDir) whiteout.LayerDir {
	if m.of.Root == "" {
		return layer
	}
	return m.of
}

// Dir returns the directory rel. It adds the directory, and the directories that contain it, if they are missing.
func (t Tree) Dir(rel string) *Marks {
	if t[rel] == nil {
		t[rel] = &Marks{Whiteouts: map[string]bool{}}
		if rel != "." {
			t.Dir(filepath.Dir(rel))
		}
	}
	return t[rel]
}

// dirs returns the paths of the directories, parents first.
func (t Tree) dirs() []string {
	return slices.SortedFunc(maps.Keys(t), whiteout.ParentsFirst)
}

// A Plan says how to mount a layer among the others of a stack.
type Plan struct {
	Above, Below Tree
	// Unread says that the marks of the layer's own directory are not to count.
	Unread bool
	// Opaque says that no layer below shows through.
	Opaque bool
	// Stacked says that the plan depends not on the layer alone, but also on the layers below it.
	Stacked bool
	// Joined says that the shadow below the layer has all that the shadow above its parent has.
	Joined bool
}

// PlanOf finds out which shadows the layer needs in a mount of a backend that reads marks in the form to. below are the layers below it;
// only are the directories that can have marks, if that is known (see whiteout.Search).
func PlanOf(layer whiteout.LayerDir, to whiteout.Form, below []whiteout.LayerDir, only []string) (p Plan, err error) {
	p = Plan{Above: Tree{}, Below: Tree{}}
	if p.Opaque, err = whiteout.IsOpaque(layer.Root, layer.Form); err != nil {
		return p, err
	}
	if p.Opaque {
		// No layer below shows through, so there is nothing to hide.
		below = nil
		defer func() { p.Below = Tree{} }()
	}
	switch {
	case layer.Form == to && to != whiteout.AufsForm:
		return p, nil
	case layer.Form != whiteout.AufsForm:
		p.Unread, p.Stacked = true, true
		if err := p.addDevices(layer, "."); err != nil {
			return p, err
		}
	default:
		marked, err := whiteout.Search{Root: layer.Root, Only: only, Devices: to == whiteout.AufsForm}.Find()
		if err != nil || to != whiteout.AufsForm {
			p.addMarks(marked)
			return p, err
		}
		if !p.addBeside(marked) {
			return p, nil
		}
		p.Unread, p.Stacked = true, true
	}
	return p, p.addHidden(layer, ".", below)
}

// addMarks plans the shadows of a layer in aufs form that overlayfs mounts.
func (p *Plan) addMarks(marked []whiteout.MarkedDir) {
	for _, m := range marked {
		above := p.Above.Dir(m.Rel)
		for _, mark := range m.Marks {
			above.Whiteouts[mark.Name()] = true
		}
		for _, name := range m.Beside {
			above.Whiteouts[name] = true
		}
		for _, name := range m.Whiteouts() {
			p.Below.Dir(m.Rel).Whiteouts[name] = true
		}
		if m.Opaque() && m.Rel != "." {
			p.Below.Dir(m.Rel).Opaque = true
		}
	}
}

// addBeside plans the shadow above a layer in aufs form that aufs mounts. It reports whether the marks of the layer's own directory must
// not count.
func (p *Plan) addBeside(marked []whiteout.MarkedDir) (unread bool) {
	for _, m := range marked {
		for _, name := range m.Beside {
			p.Above.Dir(m.Rel).Whiteouts[name] = true
		}
		unread = unread || len(m.Beside) > 0 || m.Opaque() && m.Rel != "."
	}
	return unread
}

// addDevices plans the shadow above a layer in overlay form that aufs mounts. Aufs would show the layer's whiteouts as files, so the shadow
// hides them. The shadow also stands in for each directory that has an attribute of overlayfs: aufs would copy the attribute up.
func (p *Plan) addDevices(layer whiteout.LayerDir, rel string) error {
	l, err := whiteout.ReadListing(layer.Root, rel, layer.Form)
	if err != nil {
		return err
	}
	for name := range l.Whiteouts {
		// A file beside its whiteout is shown.
		if l.Entries[name] == nil && !isHiddenByAufs(name) {
			p.Above.Dir(rel).Whiteouts[name] = true
		}
	}
	attrs, err := dirXattrs(layer.Root, rel)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(attrs, layer.Form.OwnXattr) {
		p.Above.Dir(rel)
	}
	for name, entry := range l.Entries {
		if entry.IsDir() && !isHiddenByAufs(name) {
			if err := p.addDevices(layer, filepath.Join(rel, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// isHiddenByAufs reports whether aufs shows no file of that name.
func isHiddenByAufs(name string) bool { return strings.HasPrefix(name, whiteout.Prefix) }

// dirXattrs returns the names of the extended attributes of the directory rel of the tree at root.
func dirXattrs(root, rel string) ([]string, error) {
	dir, err := fsutil.OpenBelow(root, rel)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	attrs, err := fsutil.ListXattrs(dir.Reach("."))
	return attrs, dir.Named(err)
}

// addHidden adds to the shadow below the layer each name that the layer hides in the directory rel and that the layers below it have. It
// then does the same in each subdirectory that the layers below have as well. With all these names, the shadow does everything that the
// layer's own marks say, and aufs can ignore those.
func (p *Plan) addHidden(layer whiteout.LayerDir, rel string, below []whiteout.LayerDir) error {
	own, err := whiteout.ReadListing(layer.Root, rel, layer.Form)
	if err != nil {
		return err
	}
	before, err := whiteout.ReadMerged(below, rel, nil)
	if err != nil {
		return err
	}
	hidden := own.Whiteouts
	if own.Opaque {
		hidden = before.Names()
	}
	for name := range hidden {
		if before.Shows(name) && !isHiddenByAufs(name) {
			p.Below.Dir(rel).Whiteouts[name] = true
		}
	}
	if own.Opaque {
		// The opaque directory hides everything that the layers below have here.
		return nil
	}
	for name, entry := range own.Entries {
		if !entry.IsDir() || own.Whiteouts[name] || !before.Shows(name) || isHiddenByAufs(name) {
			continue
		}
		if dirs := before.Dirs(name); len(dirs) > 0 {
			if err := p.addHidden(layer, filepath.Join(rel, name), dirs); err != nil {
				return err
			}
			continue
		}
		// This directory takes the place of a file. Without a whiteout, aufs would also show directories of that name from below the file.
		p.Below.Dir(rel).Whiteouts[name] = true
	}
	return nil
}

// Join adds the shadow at dir, which is the one above the layer's parent, to the shadow below the layer. It is for overlayfs. Join adds
// nothing where the layer hides what its parent has, and nothing at all if there is no shadow below the layer.
func (p *Plan) Join(dir string) error {
	if len(p.Below) == 0 {
		return nil
	}
	p.Joined = true
	return p.join(dir, ".")
}

// join is Join for the directory rel.
func (p *Plan) join(dir, rel string) error {
	m := p.Below[rel]
	if m == nil {
		m = p.Below.Dir(rel)
		m.of = whiteout.LayerDir{Root: dir, Form: whiteout.AufsForm}
	}
	if m.Opaque {
		return nil
	}
	opened, err := fsutil.OpenBelow(dir, rel)
	if err != nil {
		return err
	}
	entries, err := opened.List()
	opened.Close()
	if err != nil {
		return err
	}
	for _, entry := range entries {
		below := filepath.Join(rel, entry.Name())
		switch own := p.Below[below]; {
		case m.Whiteouts[entry.Name()]:
		case entry.IsDir():
			if err := p.join(dir, below); err != nil {
				return err
			}
		case own != nil:
			// The parent has a whiteout beside its directory of that name. The whiteout hides that directory, and the directories of that
			// name in the layers below.
			own.Opaque = true
		default:
			m.Whiteouts[entry.Name()] = true
		}
	}
	return nil
}

// TooLong returns an error if the plan has a whiteout whose name is too long in the form to.
func (p *Plan) TooLong(to whiteout.Form) error {
	if to != whiteout.AufsForm {
		return nil
	}
	for _, tree := range []Tree{p.Above, p.Below} {
		for rel, dir := range tree {
			for name := range dir.Whiteouts {
				if len(name) > unix.NAME_MAX-len(whiteout.Prefix) {
					return fmt.Errorf("the name of the deleted file %s is too long for a whiteout of aufs: %w", filepath.Join(rel, name), unix.ENAMETOOLONG)
				}
			}
		}
	}
	return nil
}

// make makes the shadow at target, which must not exist yet.
func (t Tree) make(target string, layer whiteout.LayerDir, to whiteout.Form) error {
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
	// Making something in a directory changes the directory's times, so this comes last.
	for _, rel := range slices.Backward(dirs) {
		of := t[rel].source(layer)
		if err := whiteout.CopyMetadataBeneath(of.Root, rel, of.Form, target); err != nil {
			return err
		}
	}
	return nil
}

// makeMarks makes the marks of the directory rel.
func (t Tree) makeMarks(target, rel string, to whiteout.Form) error {
	dir, err := fsutil.OpenBelow(target, rel)
	if err != nil {
		return err
	}
	defer dir.Close()
	w, prefix := whiteout.Maker{Dir: dir, Anew: whiteout.MakeOverlay}, ""
	if to == whiteout.AufsForm {
		w.Anew, prefix = whiteout.MakeAufs, whiteout.Prefix
	}
	var errs []error
	for name := range t[rel].Whiteouts {
		errs = append(errs, w.Make(prefix+name))
	}
	if t[rel].Opaque {
		errs = append(errs, whiteout.MarkOpaque(dir, to))
	}
	return errors.Join(errs...)
}

// Make makes the shadows in the directory dir.
func (p *Plan) Make(dir string, layer whiteout.LayerDir, to whiteout.Form) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, tree := range map[string]Tree{DirAbove: p.Above, DirBelow: p.Below} {
		if len(tree) > 0 {
			if err := tree.make(filepath.Join(dir, name), layer, to); err != nil {
				return err
			}
		}
	}
	return nil
}
