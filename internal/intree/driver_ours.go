//go:build linux && ours

package main

import "github.com/seed-642172e2/aufs"

// initDriver opens this module's driver.
var initDriver = aufs.Init
