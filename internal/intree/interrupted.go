//go:build linux && (amd64 || arm64) && (!exclude_graphdriver_aufs || ours)

package main

import "github.com/seed-642172e2/aufs/internal/faults"

// Tests may interrupt the command, but not what runs before it.
func init() {
	faults.Launch()
	interruptible = func(command func() error) error {
		faults.Tell(faults.Begin)
		defer faults.Tell(faults.End)
		return command()
	}
}
