//go:build linux

package aufs

import (
	"fmt"
	"strings"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/unshare"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

//go:generate go run ./internal/port

// This file is the one place that knows the moving parts of the storage library's driver interface: what differs from one version of
// the library to the next. The module in podman/ has one of its own.

// secondDriver says why the driver cannot be registered.
func secondDriver(err error) string {
	return fmt.Sprintf("aufs: the storage library has a driver of the name %q already (%v): "+
		"build this program with -tags exclude_graphdriver_aufs", driverName, err)
}

// ApplyDiff unpacks an uncompressed archive, as Diff makes them, into the layer, and returns how many bytes are in its
// files. It goes through a mount if the layer is mounted, or not empty, or if parent is not its parent. When it returns the
// files are on the disk.
func (d *Driver) ApplyDiff(id, parent string, options graphdriver.ApplyDiffOpts) (int64, error) {
	return d.applyDiff(id, parent, options)
}

// storageLibrary is what the driver has the library do.
func storageLibrary() driver.Library {
	return driver.Library{
		Rootless:       unshare.IsRootless(),
		NewCounter:     func(isMounted func(path string) bool) driver.Counter { return storagelib.Counter(isMounted) },
		FSName:         storagelib.FSName,
		FileInfoHeader: archive.FileInfoHeader,
		Extractor:      unpack.Extractor{InThread: storagelib.Unpack, InChild: storagelib.UnpackInChild},
		ApplyLayer:     storagelib.ApplyLayer,
	}
}

// ownOption returns the name of the option key without that of the driver; not own is one for another driver. This version of the
// library passes on only those that are for this one, with its name, or with none where storage.conf does not name the driver.
func ownOption(key string) (name string, own bool) {
	for _, prefix := range []string{driverName + ".", "."} {
		if name, found := strings.CutPrefix(key, prefix); found {
			return name, true
		}
	}
	return key, true
}

// knownOptions are all options of the driver.
const knownOptions = "aufs.mountopt, aufs.backend, aufs.ignore_chown_errors and aufs.skip_mount_home"

// libraryOptions are what the library's options can say beside what every version of it knows.
type libraryOptions struct{}

// set takes the option of that name if it is one of those; it is not known otherwise.
func (*libraryOptions) set(_, _ string) (known bool, err error) { return false, nil }

// setStagingDirectory tells a differ where it can have files of its own for a while. This version of the library has no use for it.
func setStagingDirectory(*graphdriver.DifferOptions, string) {}
