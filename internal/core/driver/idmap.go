//go:build linux

package driver

import (
	"errors"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// UpdateLayerIDMap changes the owners of all files that the layer shows, its root included. toContainer maps the old owner to an id in a
// container, and toHost maps that id to the new owner. Owners in access control lists change as well. All else stays as it is.
//
// UpdateLayerIDMap mounts the layer, so that the files of its ancestors are copied up. It leaves alone what is mounted in the layer. It
// expects that nobody else is using the layer: the storage library calls it on a layer that it has just made.
//
// If an earlier change was cut short, UpdateLayerIDMap finishes that change first.
func (d *Driver) UpdateLayerIDMap(id string, toContainer, toHost *idmap.Mappings, mountLabel string) error {
	if err := d.Stores.MustChange("changing the owners in", id); err != nil {
		return err
	}
	if err := shift.Never(d.Stores, id); err != nil {
		return store.LayerError("changing the owners in", id, err)
	}
	var acl []string
	if d.Backend.Name() == backend.Aufs && !d.options.Has("acl") {
		// Without this option the mount shows no access control lists.
		acl = []string{"acl"}
	}
	dir, err := d.GetDurable(id, mountLabel, acl...)
	if err != nil {
		return store.LayerError("changing the owners in", id, err)
	}
	err = d.changeOwners(id, dir, owners.Maps{ToContainer: orNone(toContainer), ToHost: orNone(toHost)})
	if err = errors.Join(err, d.Put(id)); err == nil {
		err = shift.Write(d.Home, id, shift.Record{Kind: shift.Changed, Maps: *orNone(toHost)})
	}
	if err == nil {
		err = owners.Write(d.Home, id, nil)
	}
	if err == nil {
		err = owners.PassTime(d.Home, id)
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
		branch = d.Home.Diff(id)
	}
	return owners.Change(d.Home, id, maps, dir, branch)
}
