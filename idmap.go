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

// SupportsShifting returns false: a mount shows the owners that are on disk.
func (d *Driver) SupportsShifting(_, _ []idtools.IDMap) bool { return false }
