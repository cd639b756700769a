//go:build linux

package aufs

import (
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

// UpdateLayerIDMap changes the owners of all files that the layer shows, including its root directory. It maps each
// owner to an id in the container according to toContainer, and maps that id to an owner on the host according to
// toHost. The rules are those of the storage library (drivers/chown_unix.go). UpdateLayerIDMap changes the owners in
// access control lists as well, and nothing else. It mounts the layer, so that the files of its ancestors are copied
// up. It leaves alone whatever is mounted inside the layer. It expects that nobody else uses the layer: the storage
// library calls it for a layer that the library has just made.
//
// The error matches unix.EROFS if only an additional image store has the layer.
//
// If a change was cut short, the next call finishes it first.
func (d *Driver) UpdateLayerIDMap(id string, toContainer, toHost *idtools.IDMappings, mountLabel string) error {
	return ofLibrary(d.core.UpdateLayerIDMap(id, storagelib.Mappings(toContainer), storagelib.Mappings(toHost), mountLabel))
}

// SupportsShifting reports whether Get can show a layer with the owners that the maps give, by an idmapped mount, so that
// nothing has to be copied. It returns false for maps that Get refuses. The library then calls UpdateLayerIDMap.
//
// The overlay backend can do it on Linux 5.19 and later, outside of user namespaces, on file systems that can have idmapped
// mounts. With aufs.backend=auto, a layer that needs it is mounted with overlayfs even if the others are mounted with aufs.
func (d *Driver) SupportsShifting(uidMap, gidMap []idtools.IDMap) bool {
	return d.core.SupportsShifting(storagelib.Maps(uidMap, gidMap))
}

// onDisk returns the mappings between the owners of the layer on the disk and those in its container. The library does not
// know that Get has shifted a layer.
func (d *Driver) onDisk(id string, given *idtools.IDMappings) (*idtools.IDMappings, error) {
	m, err := d.core.OnDisk(id, storagelib.Mappings(given))
	if err != nil {
		return nil, ofLibrary(err)
	}
	return storagelib.IDMappings(m), nil
}

// bothOnDisk is onDisk for a layer and the layer that it is compared with.
func (d *Driver) bothOnDisk(id string, given *idtools.IDMappings, parent string, parentGiven *idtools.IDMappings) (ids, parentIDs *idtools.IDMappings, err error) {
	if ids, err = d.onDisk(id, given); err == nil {
		parentIDs, err = d.onDisk(parent, parentGiven)
	}
	return ids, parentIDs, err
}
