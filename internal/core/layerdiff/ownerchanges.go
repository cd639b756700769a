//go:build linux

package layerdiff

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// A layer in which UpdateLayerIDMap changed the owners has a copy of each file of its parent. Those that are else as they were are no
// changes, as the mappings of the two layers tell them apart already.

// Paths are the paths of the changes in a layer. nil stands for all that is in the layer.
type Paths map[string]bool

// has tells if the file rel of the layer is a change.
func (p Paths) has(rel string) bool { return p == nil || p[filepath.Join("/", rel)] }

// ChangedPaths are those of the layer id, in form f.
func ChangedPaths(h store.Home, id string, f whiteout.Form, mappings, parentMappings *idmap.Mappings) (Paths, error) {
	owners, err := owners.Changed(h, id)
	if err != nil || owners == nil {
		return nil, err
	}
	var changes []Change
	err = Reading(h, id, func() (err error) {
		changes, err = Compare(h, id, Comparison{
			Layer: whiteout.LayerDir{Root: h.Diff(id), Form: f}, Mappings: mappings, ParentMappings: parentMappings, Owners: owners,
		})
		return err
	})
	paths := Paths{}
	for _, change := range changes {
		paths[change.Path] = true
	}
	return paths, err
}

// onlyOwners tells if it may be that nothing happened to the file since its owner was changed. Whatever else happens to it later
// changes its time of change.
func (c *Comparison) onlyOwners(now fs.FileInfo) bool {
	return c.Owners != nil && fsutil.StatOf(now).Ctim.Nano() <= c.Owners.Nano()
}

// ownerKept tells if the owner of a file is the one that UpdateLayerIDMap makes of the one before.
func (c *Comparison) ownerKept(now, before fs.FileInfo) bool {
	owner := func(info fs.FileInfo) idmap.Pair {
		return idmap.Pair{UID: int(fsutil.StatOf(info).Uid), GID: int(fsutil.StatOf(info).Gid)}
	}
	want, err := c.maps().Owner(owner(before))
	return err == nil && owner(now) == want
}

func (c *Comparison) maps() owners.Maps {
	return owners.Maps{ToContainer: c.ParentMappings, ToHost: c.Mappings}
}

// mapLists makes the access control lists among attributes those that UpdateLayerIDMap makes of them.
func (c *Comparison) mapLists(attrs map[string]string) error {
	for name, value := range attrs {
		if !layertar.IsACL(name) {
			continue
		}
		list, _, err := c.maps().ACL([]byte(value))
		if err != nil {
			return err
		}
		attrs[name] = string(list)
	}
	return nil
}

// contentsDiffer compares the rest of two files that differ has found to be the same. The content of those of onlyOwners is the same, if
// their sizes and times are.
func (c *Comparison) contentsDiffer(rel string, now, before fs.FileInfo, old string) (bool, error) {
	switch {
	case now.IsDir():
	case now.Size() != before.Size(), !now.ModTime().Equal(before.ModTime()), fsutil.StatOf(now).Rdev != fsutil.StatOf(before).Rdev:
		return true, nil
	case now.Mode()&fs.ModeSymlink != 0:
		target, err := readlinkBeneath(c.Layer.Root, rel)
		if err != nil {
			return false, fsutil.IgnoreGone(err)
		}
		was, err := readlinkBeneath(old, rel)
		if err != nil || target != was {
			return true, err
		}
	}
	return c.xattrsDiffer(rel, old)
}

// readlinkBeneath is readlink(2) of the file rel in the tree at root.
func readlinkBeneath(root, rel string) (string, error) {
	dir, err := fsutil.OpenDir(root, filepath.Dir(rel))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return os.Readlink(fsutil.Within(dir, filepath.Base(rel)))
}
