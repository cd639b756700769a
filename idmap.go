//go:build linux

package aufs

import (
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

// UpdateLayerIDMap changes the owners of all files that the layer shows, its root included, from what toContainer maps to the ids in a
// container to what toHost does; those in access control lists as well. All else stays as it is. It mounts the layer: the files of its
// ancestors are copied up. What is mounted in the layer it leaves alone. Like the storage library, which calls it on a layer that it
// has just made, it expects nobody else to be using the layer.
//
// A change that was cut short is finished first, if it is called again.
func (d *Driver) UpdateLayerIDMap(id string, toContainer, toHost *idtools.IDMappings, mountLabel string) error {
	return ofLibrary(d.core.UpdateLayerIDMap(id, storagelib.Mappings(toContainer), storagelib.Mappings(toHost), mountLabel))
}

// SupportsShifting is false: a mount shows the owners that are on disk.
func (d *Driver) SupportsShifting(_, _ []idtools.IDMap) bool { return false }
