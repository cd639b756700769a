//go:build linux

package aufs

import (
	"fmt"
	"strings"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/fsutils"
	"github.com/containers/storage/pkg/unshare"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

//go:generate go run ./internal/port

// This file alone knows what differs between versions of the storage library's driver interface. The module in podman/
// has its own library.go.

// secondDriver returns the message that says why the driver cannot be registered.
func secondDriver(err error) string {
	return fmt.Sprintf("aufs: the storage library has a driver of the name %q already (%v): "+
		"build this program with -tags exclude_graphdriver_aufs", driverName, err)
}

// ApplyDiff unpacks an uncompressed archive, such as Diff makes, into the layer, and returns the size in bytes of the
// archive's files. It unpacks through a mount if the layer is mounted or not empty, or if parent is not its parent.
// When ApplyDiff returns, the files are on disk.
func (d *Driver) ApplyDiff(id, parent string, options graphdriver.ApplyDiffOpts) (int64, error) {
	return d.applyDiff(id, parent, options)
}

// storageLibrary returns what the driver uses of the storage library.
func storageLibrary() driver.Library {
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

// ownOption returns the name of an option without the driver's name before it. own reports whether the option is for
// this driver. Here it is always true, because this version of the library passes on no others. The library puts the
// driver's name and a dot before the option's name, or only the dot if storage.conf does not name a driver.
func ownOption(key string) (name string, own bool) {
	for _, prefix := range []string{driverName + ".", "."} {
		if name, found := strings.CutPrefix(key, prefix); found {
			return name, true
		}
	}
	return key, true
}

// knownOptions lists the options of the driver, for error messages.
const knownOptions = "aufs.mountopt, aufs.backend, aufs.ignore_chown_errors, aufs.skip_mount_home, aufs.imagestore, aufs.size and aufs.inodes"

// libraryOptions holds the options that not every version of the library has. This version has none.
type libraryOptions struct{}

// set sets the option with this name. known is false if libraryOptions has no such option.
func (*libraryOptions) set(_, _ string) (known bool, err error) { return false, nil }

// setStagingDirectory tells a differ where it may put temporary files of its own. It does nothing here: in this version
// of the library, DifferOptions has no field for that.
func setStagingDirectory(*graphdriver.DifferOptions, string) {}

// disablesShifting reports whether the library forbids a mount to shift owners.
func disablesShifting(options graphdriver.MountOpts) bool { return options.DisableShifting }

// complete returns the driver with the method that *Driver cannot have.
func complete(d *Driver) graphdriver.Driver { return wrap(graphdriver.Driver.DeferredRemove, d) }

// registered is a *Driver with the one method of graphdriver.Driver that *Driver cannot have. The result of
// DeferredRemove has a type from an internal package of the storage library; C stands for that type.
type registered[C ~func() error] struct {
	*Driver
}

// wrap adds DeferredRemove to d. The compiler infers C from the method expression graphdriver.Driver.DeferredRemove.
func wrap[C ~func() error](_ func(graphdriver.Driver, string) (C, error), d *Driver) registered[C] {
	return registered[C]{Driver: d}
}

// DeferredRemove removes the layer as Remove does, but leaves the deletion of its files to the function that it
// returns. The caller should call that function even after an error.
func (r registered[C]) DeferredRemove(id string) (C, error) {
	clean, err := r.core.DeferredRemove(id)
	return func() error { return ofLibrary(clean()) }, ofLibrary(err)
}
