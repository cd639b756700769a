//go:build linux

package aufs

import "github.com/containers/storage/pkg/idtools"

// UpdateLayerIDMap changes the owners of all files that the layer shows, from what toContainer maps to the ids in a
// container to what toHost does. It mounts the layer: the files of its ancestors are copied up. Like the storage
// library, which calls it on a layer that it has just made, it expects nobody else to be using the layer.
func (d *Driver) UpdateLayerIDMap(id string, toContainer, toHost *idtools.IDMappings, mountLabel string) error {
	if _, err := d.home.parents(id); err != nil {
		return err
	}
	if err := d.naive.UpdateLayerIDMap(id, toContainer, toHost, mountLabel); err != nil {
		return layerError("changing the owners in", id, err)
	}
	return nil
}
