//go:build linux && !exclude_graphdriver_aufs && !ours

package main

import "github.com/containers/storage/drivers/aufs"

// initDriver opens the library's own driver.
var initDriver = aufs.Init
