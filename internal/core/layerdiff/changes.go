//go:build linux

package layerdiff

import (
	"errors"
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

// Compare returns the changes of the layer compared with its ancestors, sorted by path.
func Compare(s store.Stores, layer store.Layer, c Comparison) ([]Change, error) {
	below, err := s.Below(layer)
	if err != nil {
		return nil, err
	}
	if _, err := c.Directory(".", below, false); err != nil {
		return nil, err
	}
	slices.SortFunc(c.Changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return c.Changes, nil
}

// Comparison finds out what a layer changes in what its ancestors show.
type Comparison struct {
	Layer                    whiteout.LayerDir
	Mappings, ParentMappings *idmap.Mappings
	// Owners is the time when UpdateLayerIDMap changed the owners in the layer, or nil if it did not.
	Owners  *syscall.Timespec
	Changes []Change
}

func (c *Comparison) add(rel string, kind ChangeKind) {
	c.Changes = append(c.Changes, Change{Path: filepath.Join("/", rel), Kind: kind})
}

// Directory compares the directory rel of the layer with the same directory of its ancestors. below are the ancestors
// whose directories the parent shows together at rel, nearest first. hidden means that the layer hides all of these,
// because it has an opaque directory around rel. Directory reports whether anything in rel is a change.
func (c *Comparison) Directory(rel string, below []whiteout.LayerDir, hidden bool) (changed bool, err error) {
	own, err := whiteout.ReadListingLook(c.Layer.Root, rel, c.Layer.Form)
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
		entryChanged, err := c.entry(filepath.Join(rel, name), entry, before, own.Opaque || own.Whiteouts[name])
		if err != nil {
			return false, err
		}
		changed = changed || entryChanged
	}
	return changed, nil
}

// deleted returns the names that ancestors show and the layer hides, by whiteouts or because the directory is opaque.
func (c *Comparison) deleted(own whiteout.Listing, before whiteout.Merged) map[string]bool {
	deleted := map[string]bool{}
	for name := range own.Whiteouts {
		// A whiteout changes nothing if ancestors do not show the name.
		if before.Shows(name) && own.Entries[name] == nil {
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

// entry compares the file or directory rel of the layer with the ancestors'. before is what the ancestors show in the
// directory that contains rel.
func (c *Comparison) entry(rel string, entry fs.DirEntry, before whiteout.Merged, hidden bool) (changed bool, err error) {
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
		if changed, err = c.Directory(rel, before.Dirs(name), hidden); err != nil {
			return false, err
		}
	}
	switch {
	case old == nil:
		c.add(rel, ChangeAdd)
		return true, nil
	case changed, !info.IsDir() && !c.onlyOwners(info), c.Owners != nil && hidden, c.differ(info, old):
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

// differ reports whether the mode, the modification time or the owner has changed. It is for directories, and for files
// for which onlyOwners is true. It compares owners as the containers see them.
func (c *Comparison) differ(now, before fs.FileInfo) bool {
	if now.Mode() != before.Mode() || !sameTime(now, before) {
		return true
	}
	if c.Owners != nil && c.ownerKept(now, before) {
		return false
	}
	nowUID, nowGID := containerIDs(now, c.Mappings)
	oldUID, oldGID := containerIDs(before, c.ParentMappings)
	return nowUID != oldUID || nowGID != oldGID
}

// xattrsDiffer compares the extended attributes of the layer's file rel with those of the same file in the ancestor at
// old, as far as archives carry them. If the layer's file is gone by now, it is no change.
func (c *Comparison) xattrsDiffer(rel, old string) (bool, error) {
	now, err := xattrsBeneath(c.Layer.Root, rel)
	if err != nil {
		return false, fsutil.IgnoreGone(err)
	}
	before, err := xattrsBeneath(old, rel)
	switch {
	case err != nil:
	case c.Owners != nil:
		err = c.mapLists(before)
	case c.Mappings.Lenient:
		// Overlayfs has copied the directory up with the owners of a shifted layer.
		err = listsToContainer(now, c.Mappings)
	}
	return !maps.Equal(now, before), err
}

// sameTime reports whether two modification times are the same. A time without a fraction of a second comes from an
// archive without fractions, and is the same as any time in that second.
func sameTime(a, b fs.FileInfo) bool {
	x, y := a.ModTime(), b.ModTime()
	return x.Equal(y) || x.Unix() == y.Unix() && (x.Nanosecond() == 0 || y.Nanosecond() == 0)
}

// containerIDs returns the owner and group of a file in the container. If the mapping does not have them, it returns
// the ids on disk.
func containerIDs(info fs.FileInfo, m *idmap.Mappings) (uid, gid int) {
	st := fsutil.StatOf(info)
	uid, gid = int(st.Uid), int(st.Gid)
	if p, err := m.ToContainer(idmap.Pair{UID: uid, GID: gid}); err == nil {
		return p.UID, p.GID
	}
	return uid, gid
}

// ErrNotParent says that a layer is to be compared with a layer other than its parent, which cannot be done without
// mounts of both.
var ErrNotParent = errors.New("the layer has another parent")
