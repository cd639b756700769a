//go:build linux

package aufs

import (
	"fmt"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/driver"
)

// driverName is the driver's name in storage.conf and for --storage-driver.
const driverName = "aufs"

func init() {
	if err := graphdriver.Register(driverName, Init); err != nil {
		panic(secondDriver(err))
	}
}

// Driver is a graph driver on one store. Several goroutines may call its methods at the same time, and several drivers,
// in one process or in many, may use the same store.
type Driver struct {
	core *driver.Driver
	own  libraryOptions
	// optionsFile is the path of the options file that Init has read, or "".
	optionsFile string
	// naive compares layers that are not parent and child: it mounts both.
	naive graphdriver.Driver
}

// Init returns a driver on home, the directory that holds, or will hold, layers/, diff/ and mnt/. The options replace those in the
// options file, which is aufs.conf beside storage.conf.
//
// Init makes a trial mount, to find out what the kernel and the backing file system can do. It makes the trial mount in
// home or, if home is full or read-only, in a temporary directory. If the backend that the options ask for cannot be
// used, the error says why. With errors.Is the error matches one of the storage library's sentinels (ErrNotSupported,
// ErrIncompatibleFS, ErrPrerequisites) and, where one fits, one of this package's (ErrAufsNotSupported, ErrAufsNested).
// After an error, Init leaves nothing in home that was not there before.
//
// Init may be called on a store that other drivers, in this process or in others, are using. It removes what
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
	d := &Driver{core: opened, own: c.own, optionsFile: c.optionsFile}
	full := complete(d)
	d.naive = graphdriver.NewNaiveDiffDriver(full, graphdriver.NewNaiveLayerIDMapUpdater(full))
	return full, nil
}

// String returns the driver's name, "aufs", whichever backend it uses.
func (d *Driver) String() string { return driverName }

// Status describes the store and the host, in pairs of a name and a value.
func (d *Driver) Status() [][2]string {
	status := d.core.Status()
	if d.optionsFile != "" {
		status = append(status, [2]string{"Options File", d.optionsFile})
	}
	return status
}

// AdditionalImageStores returns the graph roots of the additional image stores, in the order in which the driver searches them.
func (d *Driver) AdditionalImageStores() []string { return d.core.ImageStores() }

// GetTempDirRootDirs returns nil. In the directories that this method returns, the library deletes temporary directories that no process has
// locked, whenever it reads its list of layers. It uses os.RemoveAll, which descends into whatever is mounted there. An immutable file
// makes os.RemoveAll fail, and then the library does not open its store. The next Init sweeps what a crash leaves behind, and every user of the
// store begins with Init.
func (d *Driver) GetTempDirRootDirs() []string { return nil }

// Dedup returns an error that matches graphdriver.ErrNotSupported: the driver does not make equal files share their blocks.
func (d *Driver) Dedup(graphdriver.DedupArgs) (graphdriver.DedupResult, error) {
	return graphdriver.DedupResult{}, fmt.Errorf("aufs: sharing the blocks of equal files: %w", graphdriver.ErrNotSupported)
}
