//go:build linux

package aufs

import (
	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
)

// Get mounts the layer, unless it is mounted already, and returns where: mnt/<id>. A layer without parents is mounted if the options have a
// flag, or there is a mount label; otherwise the result is diff/<id>. Each Get wants a Put; the last one unmounts.
//
// options.Options, if there are any, stand in place of aufs.mountopt, as with the overlay driver: ro, nodev, nosuid,
// noexec and the like are flags of the mount, and options of aufs go to aufs. A layer that is mounted stays as it was
// mounted. options.Volatile asks for nothing that aufs could do, and the ID maps for what SupportsShifting denies.
//
// After an error nothing is mounted that was not before. It matches graphdriver.ErrLayerUnknown if there is no such
// layer.
func (d *Driver) Get(id string, options graphdriver.MountOpts) (string, error) {
	dir, err := d.core.Get(id, driver.GetOptions{Options: options.Options, MountLabel: options.MountLabel})
	return dir, ofLibrary(err)
}

// Put says that a Get's caller is done. The last one unmounts the layer, and what somebody has mounted on top of it; EBUSY
// is retried for a bounded time, about a second and a half, and is a *BusyError then. If it fails, the layer is still
// mounted, and Put can be called again.
func (d *Driver) Put(id string) error { return ofLibrary(d.core.Put(id)) }

// Cleanup unmounts all that is mounted under mnt/, by whichever process, and looks into none of it. It removes what
// ApplyDiffWithDiffer of this driver has made and nobody has used.
func (d *Driver) Cleanup() error { return ofLibrary(d.core.Cleanup()) }

// BusyError says that a layer's mount cannot be unmounted because something uses it, or that a layer cannot be converted because it is
// mounted, or a layer on top of it is. Nothing has changed: the operation can be called again when the holders are gone. It matches
// unix.EBUSY.
//
// Its field Target is where the layer is mounted, or would be; Holders are those that /proc shows to this process, and there may be
// others.
type BusyError = mountutil.BusyError

// Holder is something that uses a mount: the process PID, which /proc/<PID>/comm calls Command, or, if PID is 0, a mount in this mount
// namespace. How says how it uses the mount, as in "has its working directory in it", and Path is the file, as the holder sees it, or the
// mount point.
type Holder = mountutil.Holder

// Unmount unmounts the aufs mount at target, after it has flushed its pseudo-links. EBUSY is retried for a bounded
// time, about a second and a half; the error then says what to look for. A target that is not mounted, or does not
// exist, is no error.
//
// If the flush fails the mount stays: without it, some names would have their old content again.
func Unmount(target string) error { return aufsfs.Unmount(target) }
