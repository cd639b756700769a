//go:build linux

package imagetest

import (
	"os"
	"testing"

	"github.com/containers/storage/pkg/reexec"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child process of this program.
	if reexec.Init() {
		return
	}
	storetest.NoOptionsFile()
	os.Exit(m.Run())
}

// must fails the test at once if err is not nil.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
