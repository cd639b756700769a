//go:build linux

package aufs

import (
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

// UpdateLayerIDMap changes the owners of all files that the layer shows, including its root directory. Each owner on
// the host becomes an id in the container according to toContainer, and that becomes an owner on the host again
// according to toHost. The rules are those of the storage library (drivers/chown_unix.go). UpdateLayerIDMap changes the
// owners in access control lists as well, and nothing else. It mounts the layer, so that the files of its ancestors are
// copied up. It leaves alone whatever is mounted inside of the layer. It expects nobody else to use the layer, as does
// the storage library, which calls it on a layer that it has just made.
//
// If a change was cut short, the next call finishes it first.
func (d *Driver) UpdateLayerIDMap(id string, toContainer, toHost *idtools.IDMappings, mountLabel string) error {
	return ofLibrary(d.core.UpdateLayerIDMap(id, storagelib.Mappings(toContainer), storagelib.Mappings(toHost), mountLabel))
}

// SupportsShifting returns false: a mount shows the owners that are on disk.
func (d *Driver) SupportsShifting(_, _ []idtools.IDMap) bool { return false }
