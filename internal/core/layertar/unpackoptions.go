package layertar

import (
	"io/fs"

	"github.com/seed-642172e2/aufs/internal/core/idmap"
)

// UnpackOptions say how an archive is unpacked.
type UnpackOptions struct {
	// Mappings maps the owners in the archive, which are those in the container.
	Mappings *idmap.Mappings
	// IgnoreChownErrors means that a file whose owner cannot be set belongs to whoever unpacks it.
	IgnoreChownErrors bool
	// ForceMask is the mode of all files, if it is not nil.
	ForceMask *fs.FileMode
	// InUserNS means that devices cannot be made, and security attributes cannot be set.
	InUserNS bool
}
