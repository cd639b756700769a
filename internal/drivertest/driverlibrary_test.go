//go:build linux

package drivertest

import (
	"os"
	"testing"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/fsutils"
	"github.com/containers/storage/pkg/reexec"
	"github.com/containers/storage/pkg/unshare"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child process that runs this program.
	if reexec.Init() {
		return
	}
	os.Exit(m.Run())
}

// testLibrary returns the storage library that the driver is tested with.
func testLibrary() driver.Library {
	return driver.Library{
		Rootless:       unshare.IsRootless(),
		NewCounter:     func(isMounted func(path string) bool) driver.Counter { return storagelib.Counter(isMounted) },
		FSName:         storagelib.FSName,
		SupportsDType:  fsutils.SupportsDType,
		FileInfoHeader: archive.FileInfoHeader,
		Extractor:      unpack.Extractor{InThread: storagelib.Unpack, InChild: storagelib.UnpackInChild},
		ApplyLayer:     storagelib.ApplyLayer,
		UserNamespace:  storagelib.UserNamespace,
	}
}

// fsName returns the library's name for the file system that a path is on.
var fsName = storagelib.FSName
