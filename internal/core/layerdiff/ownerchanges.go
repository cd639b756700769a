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

// If UpdateLayerIDMap changed the owners in a layer, the layer has a copy of each file of its parent. A copy that is
// otherwise as it was is no change: the mappings of the two layers already account for its owner.

// Paths are the paths of the changes in a layer. Nil stands for everything in the layer.
type Paths map[string]bool

// has reports whether the file rel of the layer is a change.
func (p Paths) has(rel string) bool { return p == nil || p[filepath.Join("/", rel)] }

// ChangedPaths returns the paths of the changes in the layer, which is in form f. It returns nil if UpdateLayerIDMap has
// not changed the owners in the layer.
func ChangedPaths(s store.Stores, layer store.Layer, f whiteout.Form, mappings, parentMappings *idmap.Mappings) (Paths, error) {
	owners, err := owners.Changed(layer.Home, layer.ID)
	if err != nil || owners == nil {
		return nil, err
	}
	var changes []Change
	err = Reading(layer, func() (err error) {
		changes, err = Compare(s, layer, Comparison{
			Layer: whiteout.LayerDir{Root: layer.Dir(), Form: f}, Mappings: mappings, ParentMappings: parentMappings, Owners: owners,
		})
		return err
	})
	paths := Paths{}
	for _, change := range changes {
		paths[change.Path] = true
	}
	return paths, err
}

// onlyOwners reports whether it is possible that nothing has happened to the file since its owner was changed. Anything
// that happens to the file later moves its change time (ctime).
func (c *Comparison) onlyOwners(now fs.FileInfo) bool {
	return c.Owners != nil && fsutil.StatOf(now).Ctim.Nano() <= c.Owners.Nano()
}

// ownerKept reports whether the owner of a file is what UpdateLayerIDMap makes of the owner before.
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

// mapLists replaces the access control lists among attrs by what UpdateLayerIDMap makes of them.
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

// listsToContainer maps the owners in the access control lists among attrs to ids in the container.
func listsToContainer(attrs map[string]string, ids *idmap.Mappings) error {
	for name, value := range attrs {
		if !layertar.IsACL(name) {
			continue
		}
		list, _, err := layertar.ACLToContainer([]byte(value), ids)
		if err != nil {
			return err
		}
		attrs[name] = string(list)
	}
	return nil
}

// contentsDiffer compares two files in which differ has found no difference. Where onlyOwners is true, files have the
// same content if their sizes and times are the same.
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

// readlinkBeneath returns the target of the symbolic link rel in the tree at root.
func readlinkBeneath(root, rel string) (string, error) {
	dir, err := fsutil.OpenDir(root, filepath.Dir(rel))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return os.Readlink(fsutil.Within(dir, filepath.Base(rel)))
}
