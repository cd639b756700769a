//go:build !linux || (exclude_graphdriver_aufs && !ours)

// Command intree, built without the aufs driver, says how to build it.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "intree: built without the storage library's aufs driver; build it on Linux with\n"+
		"  go build -tags exclude_graphdriver_btrfs ./internal/intree")
	os.Exit(2)
}
