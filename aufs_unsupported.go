//go:build !linux

package aufs

import (
	"fmt"
	"runtime"

	graphdriver "github.com/containers/storage/drivers"
)

// Init fails on every system but Linux, with an error that matches ErrAufsNotSupported and graphdriver.ErrNotSupported.
func Init(_ string, _ graphdriver.Options) (graphdriver.Driver, error) {
	return nil, fmt.Errorf("aufs: %w on %s: %w", ErrAufsNotSupported, runtime.GOOS, graphdriver.ErrNotSupported)
}
