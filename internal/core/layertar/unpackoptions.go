package layertar

import (
	"io/fs"

	"github.com/seed-642172e2/aufs/internal/core/idmap"
)

// UnpackOptions say how an archive is unpacked.
type UnpackOptions struct {
	// Mappings have the owners of the files, which are those in the container in the archive.
	Mappings *idmap.Mappings
	// IgnoreChownErrors: a file whose owner cannot be set belongs to whoever unpacks it.
	IgnoreChownErrors bool
	// ForceMask is the mode of all files, if it is not nil.
	ForceMask *fs.FileMode
	// InUserNS: devices cannot be made, and attributes of security not be set.
	InUserNS bool
}
