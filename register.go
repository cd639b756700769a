//go:build linux

package aufs

import (
	"fmt"

	graphdriver "github.com/containers/storage/drivers"
)

//go:generate go run ./internal/port

// This file is the one place that knows the moving parts of the storage library's driver interface: how a driver is
// registered, and what differs from one version of the library to the next. The module in podman/ has one of its own.

// driverName is what storage.conf and --storage-driver call the driver.
const driverName = "aufs"

func init() {
	if err := graphdriver.Register(driverName, Init); err != nil {
		panic(fmt.Sprintf("aufs: the storage library has a driver of the name %q already (%v): "+
			"build this program with -tags exclude_graphdriver_aufs", driverName, err))
	}
}

// Init returns a driver on home, the directory that holds, or will hold, layers/, diff/ and mnt/.
//
// A trial mount in home finds out what the kernel and the backing file system can do. Where aufs cannot be had, the
// error says why, and matches with errors.Is both a sentinel of this package, where one fits (ErrAufsNotSupported,
// ErrAufsNested), and one of the storage library's (ErrNotSupported, ErrIncompatibleFS, ErrPrerequisites); nothing
// that was not there before is left in home.
//
// Init may be called on a store that other drivers, in this process or others, are at work on. It removes what
// interrupted operations left behind.
func Init(home string, options graphdriver.Options) (graphdriver.Driver, error) {
	d, err := newDriver(home, options)
	if err != nil {
		return nil, err
	}
	full := wrap(graphdriver.Driver.DeferredRemove, d)
	d.naive = graphdriver.NewNaiveDiffDriver(full, graphdriver.NewNaiveLayerIDMapUpdater(full))
	return full, nil
}

// ApplyDiff unpacks an uncompressed archive, as Diff makes them, into the layer, and returns how many bytes are in its
// files. It goes through a mount if the layer is mounted, or not empty, or if parent is not its parent. When it returns the
// files are on the disk.
func (d *Driver) ApplyDiff(id, parent string, options graphdriver.ApplyDiffOpts) (int64, error) {
	return d.applyDiff(id, parent, options)
}

// applyDiffMounted is the library's way to apply an archive: through a mount.
func (d *Driver) applyDiffMounted(id, parent string, options graphdriver.ApplyDiffOpts) (int64, error) {
	return d.naive.ApplyDiff(id, parent, options)
}

// ownOption returns what the driver calls the option key; not own is one for another driver. This version of the library passes on
// only those that are for this one.
func ownOption(key string) (name string, own bool) { return key, true }

// knownOptions are all options of the driver.
const knownOptions = "aufs.mountopt and aufs.backend"

// libraryOptions are what the library's options can say beside what every version of it knows.
type libraryOptions struct{}

// set takes the option key, in small letters, if it is one of those; it is not known otherwise.
func (*libraryOptions) set(_, _ string) (known bool, err error) { return false, nil }

// setStagingDirectory tells a differ where it can have files of its own for a while. This version of the library has no use for it.
func setStagingDirectory(*graphdriver.DifferOptions, string) {}

// registered is a *Driver with the one method of graphdriver.Driver that *Driver cannot have: the result of
// DeferredRemove has a type of an internal package of the storage library, for which C stands.
type registered[C ~func() error] struct {
	*Driver
}

// wrap lets the compiler infer C from the method expression graphdriver.Driver.DeferredRemove.
func wrap[C ~func() error](_ func(graphdriver.Driver, string) (C, error), d *Driver) registered[C] {
	return registered[C]{Driver: d}
}

// DeferredRemove removes the layer as Remove does, but leaves the deletion of its files to the function that it returns. That is
// to be called after an error, too.
func (r registered[C]) DeferredRemove(id string) (C, error) {
	clean, err := r.deferredRemove(id)
	return clean, err
}
