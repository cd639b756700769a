//go:build linux

package driver

import (
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// Changes returns what makes the layer out of parent, sorted by path. A file in the layer is a change, even if its content
// is as before: it was written to. Where UpdateLayerIDMap put it there, it is one if anything but its owner is another now. A directory is one if its owner, mode, time of modification or extended attributes
// differ, or if anything in it is a change. What an opaque directory hides is deleted.
//
// The layer is not mounted, and each directory of an ancestor is read once at most. The error is ErrNotParent if parent is not its parent.
func (d *Driver) Changes(id string, idMappings *idmap.Mappings, parent string, parentMappings *idmap.Mappings) ([]Change, error) {
	direct, err := d.isParent(id, parent)
	if err != nil {
		return nil, err
	}
	if !direct {
		return nil, ErrNotParent
	}
	var changes []Change
	err = reading(d.home, id, func() (err error) {
		changes, err = d.changes(id, orNone(idMappings), orNone(parentMappings))
		return err
	})
	if err != nil {
		return nil, store.LayerError("comparing", id, err)
	}
	return changes, nil
}

func (d *Driver) changes(id string, idMappings, parentMappings *idmap.Mappings) ([]Change, error) {
	f, _, err := d.readable(id)
	if err != nil {
		return nil, err
	}
	owners, err := d.ownersChanged(id)
	if err != nil {
		return nil, err
	}
	return d.compare(id, comparison{
		layer: whiteout.LayerDir{Root: d.home.Diff(id), Form: f}, mappings: idMappings, parentMappings: parentMappings, owners: owners,
	})
}

// compare compares the layer id with its ancestors.
func (d *Driver) compare(id string, c comparison) ([]Change, error) {
	below, err := d.layersBelow(id)
	if err != nil {
		return nil, err
	}
	if _, err := c.directory(".", below, false); err != nil {
		return nil, err
	}
	slices.SortFunc(c.changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return c.changes, nil
}

// layersBelow are the ancestors of the layer id, nearest first.
func (d *Driver) layersBelow(id string) ([]whiteout.LayerDir, error) {
	parents, err := d.home.Parents(id)
	if err != nil {
		return nil, err
	}
	dirs, err := d.home.ParentDirs(id, parents)
	if err != nil {
		return nil, err
	}
	below := make([]whiteout.LayerDir, 0, len(dirs))
	for i, dir := range dirs {
		f, err := d.home.Form(parents[i])
		if err != nil {
			return nil, err
		}
		below = append(below, whiteout.LayerDir{Root: dir, Form: f})
	}
	return below, nil
}

// comparison finds out what a layer changes in what its ancestors show.
type comparison struct {
	layer                    whiteout.LayerDir
	mappings, parentMappings *idmap.Mappings
	// owners is when UpdateLayerIDMap changed the owners in the layer; nil if it did not.
	owners  *syscall.Timespec
	changes []Change
}

func (c *comparison) add(rel string, kind ChangeKind) {
	c.changes = append(c.changes, Change{Path: filepath.Join("/", rel), Kind: kind})
}

// directory compares the directory rel of the layer with those of the ancestors that have it, and are not hidden, nearest
// first. hidden says that they do not show through, since a directory around it is opaque. It tells if anything in it is
// a change.
func (c *comparison) directory(rel string, below []whiteout.LayerDir, hidden bool) (changed bool, err error) {
	own, err := whiteout.ReadListingLook(c.layer.Root, rel, c.layer.Form)
	if err != nil {
		if rel != "." {
			err = fsutil.IgnoreGone(err)
		}
		return false, err
	}
	own.Opaque = own.Opaque || hidden
	before, err := whiteout.ReadMerged(below, rel, own.Entries)
	if err != nil {
		return false, err
	}
	for name := range c.deleted(own, before) {
		changed = true
		c.add(filepath.Join(rel, name), ChangeDelete)
	}
	for name, entry := range own.Entries {
		if own.Whiteouts[name] {
			continue
		}
		entryChanged, err := c.entry(filepath.Join(rel, name), entry, before, own.Opaque)
		if err != nil {
			return false, err
		}
		changed = changed || entryChanged
	}
	return changed, nil
}

// deleted are the names that ancestors show and the layer does not: by whiteouts, or because the directory is opaque.
func (c *comparison) deleted(own whiteout.Listing, before whiteout.Merged) map[string]bool {
	deleted := map[string]bool{}
	for name := range own.Whiteouts {
		// A whiteout of what was not there changes nothing.
		if before.Shows(name) {
			deleted[name] = true
		}
	}
	if own.Opaque {
		for name := range before.Names() {
			if own.Entries[name] == nil {
				deleted[name] = true
			}
		}
	}
	return deleted
}

// entry compares one file or directory that is in the layer with what the directory that it is in showed before.
func (c *comparison) entry(rel string, entry fs.DirEntry, before whiteout.Merged, hidden bool) (changed bool, err error) {
	info, err := entry.Info()
	if err != nil {
		return false, err
	}
	name := filepath.Base(rel)
	old, err := before.Stat(name)
	if err != nil {
		return false, err
	}
	if info.IsDir() {
		if changed, err = c.directory(rel, before.Dirs(name), hidden); err != nil {
			return false, err
		}
	}
	switch {
	case old == nil:
		c.add(rel, ChangeAdd)
		return true, nil
	case changed, !info.IsDir() && !c.onlyOwners(info), c.owners != nil && hidden, c.differ(info, old):
		changed = true
	default:
		if changed, err = c.contentsDiffer(rel, info, old, before.Root(name)); err != nil {
			return false, err
		}
	}
	if changed {
		c.add(rel, ChangeModify)
	}
	return changed, nil
}

// differ tells if a directory, or a file of onlyOwners, is another than it was. Owners are compared as the containers see them.
func (c *comparison) differ(now, before fs.FileInfo) bool {
	if now.Mode() != before.Mode() || !sameTime(now, before) {
		return true
	}
	if c.owners != nil && c.ownerKept(now, before) {
		return false
	}
	nowUID, nowGID := containerIDs(now, c.mappings)
	oldUID, oldGID := containerIDs(before, c.parentMappings)
	return nowUID != oldUID || nowGID != oldGID
}

// xattrsDiffer compares the extended attributes of the layer's file rel with those of the one that the ancestor at
// old has, as far as archives carry them. The first may be gone by now, and is no change then.
func (c *comparison) xattrsDiffer(rel, old string) (bool, error) {
	now, err := xattrsBeneath(c.layer.Root, rel)
	if err != nil {
		return false, fsutil.IgnoreGone(err)
	}
	before, err := xattrsBeneath(old, rel)
	if err == nil && c.owners != nil {
		err = c.mapLists(before)
	}
	return !maps.Equal(now, before), err
}

// sameTime compares times of modification; one without a fraction of a second comes from an archive that has none, and is
// the same as any in that second.
func sameTime(a, b fs.FileInfo) bool {
	x, y := a.ModTime(), b.ModTime()
	return x.Equal(y) || x.Unix() == y.Unix() && (x.Nanosecond() == 0 || y.Nanosecond() == 0)
}

// containerIDs are the owner and group of a file in the container, or those on disk if the mapping has none for them.
func containerIDs(info fs.FileInfo, m *idmap.Mappings) (uid, gid int) {
	st := fsutil.StatOf(info)
	uid, gid = int(st.Uid), int(st.Gid)
	if p, err := m.ToContainer(idmap.Pair{UID: uid, GID: gid}); err == nil {
		return p.UID, p.GID
	}
	return uid, gid
}
