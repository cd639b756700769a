//go:build linux

// Package aufs is generated from that of the module above, but for the files that are not marked as such.
package aufs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/podman/internal/storagelib"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/unshare"
)

// This file is the one place that knows the moving parts of the storage library's driver interface: what differs from one version of
// the library to the next.

// secondDriver says why the driver cannot be registered.
func secondDriver(err error) string {
	return fmt.Sprintf("aufs: the storage library has a driver of the name %q already: %v", driverName, err)
}

// ApplyDiff unpacks an uncompressed archive, as Diff makes them, into the layer, and returns how many bytes are in its
// files. It goes through a mount if the layer is mounted, or not empty. When it returns the files are on the disk.
func (d *Driver) ApplyDiff(id string, options graphdriver.ApplyDiffOpts) (int64, error) {
	parent, err := d.core.Parent(id)
	if err != nil {
		return 0, ofLibrary(err)
	}
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

// SyncMode is what the option aufs.sync says, by which the library syncs the file system before it notes that a layer is there.
// The driver itself has what ApplyDiff and ApplyDiffFromStagingDirectory bring on the disk before they return, in either mode.
func (d *Driver) SyncMode() graphdriver.SyncMode { return d.own.sync }

// ownOption returns the name of the option key without that of the driver; not own is one for another driver. The library passes on
// all options that storage.conf has for some driver, and those for every driver without the name of one.
func ownOption(key string) (name string, own bool) {
	driver, name, named := strings.Cut(key, ".")
	switch {
	case !named:
		return key, true
	case driver == "", driver == driverName:
		return name, true
	case slices.Contains([]string{"btrfs", "overlay", "overlay2", "vfs", "zfs"}, driver):
		return "", false
	}
	return key, true
}

// knownOptions are all options of the driver. Those with its name it takes as well, but a part of the library refuses them.
const knownOptions = "mountopt, backend, ignore_chown_errors, skip_mount_home and sync, without the name of the driver"

// libraryOptions are what the library's options can say beside what every version of it knows.
type libraryOptions struct {
	sync graphdriver.SyncMode
}

// set takes the option of that name if it is one of those; it is not known otherwise.
func (o *libraryOptions) set(name, value string) (known bool, err error) {
	if name != "sync" {
		return false, nil
	}
	if value == "" {
		value = "none"
	}
	o.sync, err = graphdriver.ParseSyncMode(value)
	return true, err
}

// setStagingDirectory tells a differ where it can have files of its own for a while, as it needs to use parts of other layers. Version v1.63 of
// the library has no such field.
func setStagingDirectory(options *graphdriver.DifferOptions, dir string) {
	if field := reflect.ValueOf(options).Elem().FieldByName("StagingDirectory"); field.IsValid() {
		field.SetString(dir)
	}
}
