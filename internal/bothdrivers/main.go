// Command bothdrivers imports all drivers of the storage library, and this module's driver. Built without the
// tag exclude_graphdriver_aufs, it must fail at start with a message that names the tag. Built with the tag,
// it must do nothing.
package main

import (
	_ "github.com/containers/storage/drivers/register"
	_ "github.com/seed-642172e2/aufs"
)

func main() {}
