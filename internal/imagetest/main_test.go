//go:build linux

package imagetest

import (
	"os"
	"testing"

	"github.com/containers/storage/pkg/reexec"
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child process of this program.
	if reexec.Init() {
		return
	}
	// The host may have an options file. This storage.conf is empty, and has none beside it.
	if err := os.Setenv("CONTAINERS_STORAGE_CONF", os.DevNull); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// must fails the test at once if err is not nil.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
