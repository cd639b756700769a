//go:build linux

package aufs

import graphdriver "github.com/containers/storage/drivers"

// driverName is what storage.conf and --storage-driver call the driver.
const driverName = "aufs"

func init() {
	if err := graphdriver.Register(driverName, Init); err != nil {
		panic(secondDriver(err))
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
