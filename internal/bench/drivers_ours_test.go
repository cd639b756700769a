//go:build linux && exclude_graphdriver_aufs

package bench

import (
	_ "github.com/containers/storage/drivers/overlay"
	_ "github.com/containers/storage/drivers/vfs"
	_ "github.com/seed-642172e2/aufs"
)

// compiledDrivers returns the drivers that this program contains.
func compiledDrivers() []driver {
	return []driver{
		{name: Ours, registered: "aufs", needsAufs: true},
		{name: Overlay, registered: "overlay"},
		{name: VFS, registered: "vfs", copies: true},
		{name: OursOnOverlay, registered: "aufs", options: []string{"aufs.backend=overlay"}},
	}
}
