//go:build linux && !exclude_graphdriver_aufs

package bench

import _ "github.com/containers/storage/drivers/aufs"

// compiledDrivers returns the drivers that this program contains.
func compiledDrivers() []driver {
	return []driver{{name: InTree, registered: "aufs", needsAufs: true}}
}
