//go:build linux

package driver

import (
	"errors"
	"slices"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// UpdateLayerIDMap changes the owners of all files that the layer shows, its root included, from what toContainer maps to the ids in a
// container to what toHost does; those in access control lists as well. All else stays as it is. It mounts the layer: the files of its
// ancestors are copied up. What is mounted in the layer it leaves alone. Like the storage library, which calls it on a layer that it
// has just made, it expects nobody else to be using the layer.
//
// A change that was cut short is finished first, if it is called again.
func (d *Driver) UpdateLayerIDMap(id string, toContainer, toHost *idmap.Mappings, mountLabel string) error {
	o := d.options
	if d.backend.Name() == backend.Aufs && !o.Has("acl") {
		// Else it shows no access control lists.
		o.Data = append(slices.Clone(o.Data), "acl")
	}
	dir, err := d.getWith(id, o, mountLabel)
	if err != nil {
		return err
	}
	err = d.changeOwners(id, dir, owners.Maps{ToContainer: orNone(toContainer), ToHost: orNone(toHost)})
	if err = errors.Join(err, d.Put(id)); err == nil {
		err = owners.Write(d.home, id, nil)
	}
	if err == nil {
		err = owners.PassTime(d.home, id)
	}
	if err != nil {
		return store.LayerError("changing the owners in", id, err)
	}
	return nil
}

// changeOwners changes the owners in the layer id, which is mounted at dir.
func (d *Driver) changeOwners(id, dir string, maps owners.Maps) error {
	branch := dir
	if aufs, err := aufsfs.IsAufs(dir); err != nil {
		return err
	} else if aufs {
		branch = d.home.Diff(id)
	}
	plan, err := owners.Unfinished(d.home, id)
	if err != nil {
		return err
	}
	if plan != nil {
		if err := plan.Apply(dir, branch); err != nil || plan.IsOf(maps) {
			return err
		}
	}
	if plan, err = owners.PlanOf(dir, maps); err != nil {
		return err
	}
	if err := owners.Write(d.home, id, plan); err != nil {
		return err
	}
	return plan.Apply(dir, branch)
}
