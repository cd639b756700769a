//go:build linux

package unpack_test

import (
	"os"
	"testing"

	"github.com/containers/storage/pkg/reexec"
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child process, which runs this same program.
	if reexec.Init() {
		return
	}
	os.Exit(m.Run())
}
