//go:build linux

package aufs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// intreeVariable names, in the environment, a binary of internal/intree. Without it the tests build one.
const intreeVariable = "AUFS_TEST_INTREE"

// newIntree is for tests that run where the kernel has aufs.
func newIntree(t *testing.T, home string) intree {
	t.Helper()
	return intree{built(t, intreeVariable, "./internal/intree", "exclude_graphdriver_btrfs"), home}
}

// built is the program that a variable of the environment names, or else one that it builds.
func built(t *testing.T, variable, pkg, tags string) string {
	t.Helper()
	if program := os.Getenv(variable); program != "" {
		return program
	}
	program := filepath.Join(t.TempDir(), filepath.Base(pkg))
	c := exec.Command("go", "build", "-tags", tags, "-o", program, pkg)
	c.Dir = programsDir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}
