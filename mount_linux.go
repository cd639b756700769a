//go:build linux

package aufs

import (
	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

// Get mounts the layer, unless it is mounted already, and returns the mount point: mnt/<id>, or a directory in
// mnt/aufs-removing if the layer is in an additional image store. A layer without parents is mounted only if the options
// have a flag, if there is a mount label, or if it is in an image store; otherwise Get returns diff/<id>. Each Get needs a
// Put; the last Put unmounts the layer.
//
// If options.Options is not empty, it replaces aufs.mountopt, as with the overlay driver: ro, nodev, nosuid, noexec and
// the like are flags of the mount, and options of aufs go to aufs. A layer that is mounted already keeps the options of
// its mount. A layer of an additional image store is always mounted, and read-only. With options.Volatile, overlayfs syncs
// nothing that is written to the mount, if the kernel can do that; the aufs backend cannot, and mounts the layer as
// always.
//
// If the options have ID maps, and the library does not forbid it (DisableShifting), the mount shows the files of image
// layers with the owners that the maps give. New files in the layer have these owners on disk, so from then on
// all mounts of the layer show them. A layer whose owners UpdateLayerIDMap has changed accordingly is mounted as it is.
// It is an error if the layer has other owners already, or if the mount cannot shift them. If owners are to be shifted,
// it is also an error if the maps overlap, have an empty range, or have only users or groups.
//
// After an error, Get leaves nothing mounted that was not mounted before. The error matches graphdriver.ErrLayerUnknown
// if the layer does not exist.
func (d *Driver) Get(id string, options graphdriver.MountOpts) (string, error) {
	dir, err := d.core.Get(id, driver.GetOptions{
		Options: options.Options, MountLabel: options.MountLabel, Volatile: options.Volatile,
		IDs: shift.Request{Maps: storagelib.Maps(options.UidMaps, options.GidMaps), Disabled: disablesShifting(options)},
	})
	return dir, ofLibrary(err)
}

// Put ends the use of a layer that Get began. The last Put unmounts the layer, and whatever somebody mounted on top of
// it. Put retries EBUSY for about 1.3 seconds, and then returns a *BusyError. After an error the layer is still
// mounted, and Put can be called again.
func (d *Driver) Put(id string) error { return ofLibrary(d.core.Put(id)) }

// Cleanup unmounts everything that is mounted under mnt/, whichever process mounted it. It also removes the staging
// directories that ApplyDiffWithDiffer of this driver has made and nobody has applied to a layer.
func (d *Driver) Cleanup() error { return ofLibrary(d.core.Cleanup()) }

// BusyError says that a layer cannot be unmounted because something uses its mount, that a layer cannot be converted
// because it, or a layer on top of it, is mounted, or that a layer cannot be mounted because an earlier volatile mount of
// it is alive. Nothing has changed: the operation can be called again when the holders are gone. A BusyError matches
// unix.EBUSY.
//
// Target is the layer's mount point, whether the layer is mounted there or not. Holders are the holders that /proc
// shows to this process; there may be others.
type BusyError = mountutil.BusyError

// Holder is something that uses a mount. It is the process PID or, if PID is 0, a mount in this mount namespace.
// Command is the name of the process in /proc/<PID>/comm. How says in what way the holder uses the mount, as in "has
// an open file in the mount". Path is the file, as the holder sees it, or the mount point.
type Holder = mountutil.Holder

// Unmount flushes the pseudo-links of the aufs mount at target, and then unmounts it. It retries EBUSY for about 1.3
// seconds; after that the error says what to look for. It is no error if target is not mounted or does not exist.
//
// If the flush fails, the mount stays: without the flush, some names of files with hard links would show their old
// content again.
func Unmount(target string) error { return aufsfs.Unmount(target) }
