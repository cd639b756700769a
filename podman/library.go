//go:build linux

// Package aufs is generated from the package of the module above, except for the files that are not marked as
// generated.
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
	"go.podman.io/storage/pkg/fsutils"
	"go.podman.io/storage/pkg/unshare"
)

// This file alone knows what differs between versions of the storage library's driver interface.

// secondDriver returns the message that says why the driver cannot be registered.
func secondDriver(err error) string {
	return fmt.Sprintf("aufs: the storage library has a driver of the name %q already: %v", driverName, err)
}

// ApplyDiff unpacks an uncompressed archive, such as Diff makes, into the layer, and returns the size in bytes of the
// archive's files. It unpacks through a mount if the layer is mounted or not empty. When ApplyDiff returns, the files
// are on disk.
func (d *Driver) ApplyDiff(id string, options graphdriver.ApplyDiffOpts) (int64, error) {
	parent, err := d.core.Parent(id)
	if err != nil {
		return 0, ofLibrary(err)
	}
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

// ownOption returns the name of an option without the driver's name before it. own is false for an option of another
// driver. The library passes on the options that storage.conf has for the drivers that the library knows, with the
// names of those drivers, and the options for all drivers, without a name.
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

// knownOptions lists the options of the driver, for error messages. The driver also accepts them with its name before
// them, but a part of the library refuses those.
const knownOptions = "mountopt, backend, ignore_chown_errors, skip_mount_home, imagestore, size, inodes and sync, without the name of the driver"

// libraryOptions holds the options that not every version of the library has.
type libraryOptions struct {
	// sync is the number that the library's SyncMode has for the value of the option.
	sync int
}

// set sets the option with this name. known is false if libraryOptions has no such option.
func (o *libraryOptions) set(name, value string) (known bool, err error) {
	if name != "sync" {
		return false, nil
	}
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "none":
		o.sync = 0
	case "filesystem":
		o.sync = 1
	default:
		err = fmt.Errorf("invalid sync mode: %q", value)
	}
	return true, err
}

// setStagingDirectory tells a differ where it may put temporary files of its own, which it needs in order to use parts
// of other layers. Versions up to v1.63 of the library have no such field.
func setStagingDirectory(options *graphdriver.DifferOptions, dir string) {
	if field := reflect.ValueOf(options).Elem().FieldByName("StagingDirectory"); field.IsValid() {
		field.SetString(dir)
	}
}

// disablesShifting reports whether the library forbids a mount to shift owners. Up to v1.63, it does so if SupportsShifting has returned false
// for the maps of the mount. Later versions have no such field, and rely on the driver to shift nothing that has its owners already.
func disablesShifting(options graphdriver.MountOpts) bool {
	field := reflect.ValueOf(options).FieldByName("DisableShifting")
	return field.IsValid() && field.Bool()
}

// complete returns the driver with the methods that *Driver cannot have.
func complete(d *Driver) graphdriver.Driver {
	return wrap(graphdriver.Driver.DeferredRemove, graphdriver.ApplyDiffStaging.StartStagingDiffToApply, withSyncMode.SyncMode, d)
}

// withSyncMode has the method SyncMode of graphdriver.Driver, if there is one. With v1.62 of the library, which has none, it gets SyncMode from
// older. With later versions, the method of graphdriver.Driver hides that one, because older is embedded more deeply.
type withSyncMode struct {
	graphdriver.Driver
	without
}

type (
	without struct{ older }
	older   struct{}
)

// SyncMode stands for a method that the library does not have.
func (older) SyncMode() int { return 0 }

// registered is a *Driver with those methods of graphdriver.Driver and graphdriver.ApplyDiffStaging that *Driver cannot
// have, because their types are in internal packages of the storage library, or not in each of its versions. C, F, A and M stand for these
// types: C for the result of DeferredRemove, F for the function that removes what was staged, A for what was staged, and M for the result
// of SyncMode.
type registered[C, F ~func() error, A ~struct{ Path string }, M ~int] struct {
	*Driver
}

// wrap lets the compiler infer the types from method expressions.
func wrap[C, F ~func() error, A ~struct{ Path string }, M ~int](
	_ func(graphdriver.Driver, string) (C, error), _ func(graphdriver.ApplyDiffStaging, string, graphdriver.ApplyDiffOpts) (F, *A, int64, error),
	_ func(withSyncMode) M, d *Driver,
) registered[C, F, A, M] {
	return registered[C, F, A, M]{Driver: d}
}

// SyncMode returns the value of the option aufs.sync. By it, the library decides whether to sync the file system before
// it records that a layer exists. In either mode, what ApplyDiff and ApplyDiffFromStagingDirectory write is on disk
// when they return.
func (r registered[C, F, A, M]) SyncMode() M { return M(r.own.sync) }

// DeferredRemove removes the layer as Remove does, but leaves the deletion of its files to the function that it
// returns. The caller must call that function even after an error.
func (r registered[C, F, A, M]) DeferredRemove(id string) (C, error) {
	clean, err := r.core.DeferredRemove(id)
	return func() error { return ofLibrary(clean()) }, ofLibrary(err)
}

// StartStagingDiffToApply unpacks an archive for a layer that does not exist yet. parent is the layer below it, or ""
// for none. StartStagingDiffToApply needs no lock of the store: other programs can use the store meanwhile. The error
// matches graphdriver.ErrLayerUnknown if there is no such parent. The function that it returns removes what was staged,
// unless CommitStagedLayer has taken it.
func (r registered[C, F, A, M]) StartStagingDiffToApply(parent string, options graphdriver.ApplyDiffOpts) (F, *A, int64, error) {
	target, size, err := r.core.StageLayer(parent, applyOptions(options))
	if err != nil {
		return nil, nil, -1, ofLibrary(err)
	}
	return func() error { return ofLibrary(r.core.CleanupStagedLayer(target)) }, &A{Path: target}, size, nil
}

// CommitStagedLayer puts what StartStagingDiffToApply of this driver has staged into the layer id. It does so through a
// mount if the layer is mounted, has a quota, or is not empty. Otherwise the layer has all of it or nothing. When
// CommitStagedLayer returns, the files are on disk. It can be called once.
func (r registered[C, F, A, M]) CommitStagedLayer(id string, staged *A) error {
	return ofLibrary(r.core.CommitLayer(id, struct{ Path string }(*staged).Path))
}
