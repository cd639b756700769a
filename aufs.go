//go:build linux

package aufs

import (
	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/driver"
)

// driverName is what storage.conf and --storage-driver call the driver.
const driverName = "aufs"

func init() {
	if err := graphdriver.Register(driverName, Init); err != nil {
		panic(secondDriver(err))
	}
}

// Driver is a graph driver on one store. Its methods may be called from several goroutines, and several drivers, in one
// process or in many, may be at work on one store.
type Driver struct {
	core *driver.Driver
	own  libraryOptions
	// naive is the library's way, through mounts, to compare layers.
	naive graphdriver.Driver
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
	c, err := parseConfig(options)
	if err != nil {
		return nil, err
	}
	c.Library = storageLibrary()
	opened, err := driver.Open(home, c.Config)
	if err != nil {
		return nil, ofLibrary(err)
	}
	d := &Driver{core: opened, own: c.own}
	full := wrap(graphdriver.Driver.DeferredRemove, d)
	d.naive = graphdriver.NewNaiveDiffDriver(full, graphdriver.NewNaiveLayerIDMapUpdater(full))
	return full, nil
}

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
	clean, err := r.core.DeferredRemove(id)
	return func() error { return ofLibrary(clean()) }, ofLibrary(err)
}

// String returns the driver's name, "aufs", whatever its backend is.
func (d *Driver) String() string { return driverName }

// Status returns what there is to know about the store and the host, as pairs of a name and a value.
func (d *Driver) Status() [][2]string { return d.core.Status() }

// AdditionalImageStores returns none: the driver does not support them.
func (d *Driver) AdditionalImageStores() []string { return nil }

// GetTempDirRootDirs returns none. The storage library would delete what it finds in such a directory whenever it reads its
// list of layers, in the process that is to delete it as well, and by os.RemoveAll: that goes into what is mounted there, and an
// immutable file makes it fail, upon which the library does not open its store. What a crash leaves is swept by the next Init,
// which every user of the store begins with.
func (d *Driver) GetTempDirRootDirs() []string { return nil }

// Dedup does nothing: it is for file systems whose files can share their blocks.
func (d *Driver) Dedup(graphdriver.DedupArgs) (graphdriver.DedupResult, error) {
	return graphdriver.DedupResult{}, nil
}
