//go:build linux

package drivertest

import (
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/storetest"
)

// intreeVariable names the environment variable that has the path of a binary of internal/intree. Without it the tests build one.
const intreeVariable = "AUFS_TEST_INTREE"

// newIntree returns the in-tree driver on the store home, for tests that run where the kernel has aufs.
func newIntree(t *testing.T, home string) intree {
	t.Helper()
	return inTree(storetest.Build(t, intreeVariable, "../..", "./internal/intree", "exclude_graphdriver_btrfs"), home)
}
