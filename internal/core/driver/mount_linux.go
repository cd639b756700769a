//go:build linux

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Get mounts the layer, unless it is mounted already, and returns the path of the mount, mnt/<id>. It mounts a layer without parents only
// if the options have a flag or there is a mount label; otherwise it returns diff/<id>. Each Get needs a Put, and the last Put unmounts. A
// layer that is already mounted keeps the options of its mount. A layer of an image store is always mounted, read-only, at Stores.Mnt.
//
// After an error nothing is mounted that was not mounted before. The error matches store.ErrLayerUnknown if there is no such layer.
func (d *Driver) Get(id string, options GetOptions) (string, error) {
	o := d.options
	if len(options.Options) > 0 {
		var err error
		if o, err = backend.ParseMountOptions(options.Options); err != nil {
			return "", store.LayerError("mounting", id, err)
		}
	}
	if options.Volatile && !o.Synchronous() && d.Backend.SupportsVolatile() {
		o.Volatile = true
	} else if options.Volatile {
		logrus.Debugf("aufs: layer %s: mounting it without the option volatile", id)
	}
	return d.getWith(id, o, options.MountLabel, options.IDs)
}

// GetDurable is Get for the driver itself, which needs to have on the disk what it writes. It uses the driver's mount options, with more
// options for aufs.
func (d *Driver) GetDurable(id, label string, data ...string) (string, error) {
	o := d.options
	o.Volatile = false
	o.Data = append(slices.Clone(o.Data), data...)
	return d.getWith(id, o, label, shift.Request{})
}

// getWith is Get with parsed mount options and an SELinux label.
func (d *Driver) getWith(id string, o backend.MountOptions, label string, ids shift.Request) (string, error) {
	var layer store.Layer
	var parents []store.Layer
	lock, err := d.Stores.LockLayerAnd("mounting", id, func(l store.Layer) (err error) {
		layer = l
		parents, err = d.Stores.Parents(l)
		return err
	})
	if err != nil {
		return "", err
	}
	defer lock.Unlock()
	if err := layerquota.Restore(d.Stores, layer); err != nil {
		return "", store.LayerError("mounting", id, err)
	}
	own := d.Stores.IsOwn(layer)
	if !own {
		// As the overlay driver does.
		o.Flags |= unix.MS_RDONLY
	}
	if o.Shift, err = shift.PlanOf(append([]store.Layer{layer}, parents...), !o.ReadOnly(), ids); err != nil {
		return "", store.LayerError("mounting", id, err)
	}
	if own && len(parents) == 0 {
		return d.getBase(id, o, label)
	}
	target := d.Stores.Mnt(layer)
	if d.mounted.Increment(target) > 1 {
		if mounted, err := mountutil.IsMounted(target); err == nil && mounted {
			if err := o.Shift.Agrees(target); err != nil {
				d.mounted.Decrement(target)
				return "", store.LayerError("mounting", id, err)
			}
			return target, nil
		}
		// The count says that the layer is mounted, but another driver's Cleanup, or somebody else, has unmounted it.
	}
	mount := d.Mount
	if len(parents) == 0 {
		mount = d.mountBase
	}
	if err := mount(layer, parents, o, label); err != nil {
		d.mounted.Decrement(target)
		return "", store.LayerError("mounting", id, err)
	}
	return target, nil
}

// Mount mounts the layer. The caller holds the layer's lock.
func (d *Driver) Mount(layer store.Layer, parents []store.Layer, o backend.MountOptions, label string) error {
	s := backend.Stack{ID: layer.ID, Target: d.Stores.Mnt(layer), Image: !d.Stores.IsOwn(layer), Options: o, Label: label}
	if err := d.Stores.MakeMountPoint(layer); err != nil {
		return err
	}
	layers := parents
	if o.ReadOnly() {
		layers = append([]store.Layer{layer}, parents...)
	}
	by, err := d.Shifting.MounterFor(o.Shift, backend.Mounter{Backend: d.Backend, Shadows: d.Shadows})
	if err == nil && d.Stores.IsOwn(layer) {
		err = o.Shift.Begin()
	}
	if err != nil {
		return err
	}
	for {
		same, err := d.mountStack(by, s, layer, layers)
		if err != nil || same {
			return o.Shift.End(err)
		}
	}
}

// mountStack mounts the stack s, of the layer whose lock the caller holds, with layers below it. Somebody may convert one of the layers
// below meanwhile, because only the lock of the mounted layer is held. If the form of a layer has changed, mountStack leaves nothing
// mounted, and same is false.
func (d *Driver) mountStack(by backend.Mounter, s backend.Stack, held store.Layer, layers []store.Layer) (same bool, err error) {
	if s.Layers, err = by.Shadows.Stack(layers, held); err != nil {
		return false, err
	}
	mounted := false
	mount := func() error {
		err := by.Mount(s)
		mounted = err == nil
		return err
	}
	if s.Options.ReadOnly() {
		err = mount()
	} else if err = d.prepare(by, &s); err == nil {
		err = layerquota.WithRoom(d.Home, s.ID, mount)
	}
	if err != nil && mounted {
		err = errors.Join(err, d.unmount(held, s.Target))
	}
	if err != nil {
		return false, err
	}
	for _, layer := range s.Layers {
		if layer.Form == "" && by.Shadows.To != whiteout.AufsForm {
			// The layer's shadows do what its marks say, whichever form the marks are in by now.
			continue
		}
		r, err := layer.Home.ReadForm(layer.ID)
		same := !r.Converting && r.IsOverlay() == (layer.Form != "") && (!r.IsOverlay() || r.Form == layer.Form)
		if err == nil && same {
			continue
		}
		if err = errors.Join(err, d.unmount(held, s.Target)); err == nil && d.Stores.IsOwn(layer.Layer) {
			err = d.unlearn(layer.ID)
		}
		return false, err
	}
	return true, nil
}

// unlearn invalidates the cache entry of the ancestor id if its record says that it is in overlay form: such a layer must not have an
// entry. A crash may have brought an old entry back, and each mount would rely on it.
func (d *Driver) unlearn(id string) error {
	lock, err := d.Home.LockID(id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if r, err := d.Home.ReadForm(id); err != nil || !r.IsOverlay() {
		return err
	}
	return d.Home.Invalidate(id)
}

// prepare makes the layer of the stack s ready to be mounted writable. If the layer's root directory is opaque, prepare drops the layers
// below: neither aufs nor overlayfs looks for an opaque mark at the root of a branch.
func (d *Driver) prepare(by backend.Mounter, s *backend.Stack) error {
	if err := by.Prepare(s.ID); err != nil {
		return err
	}
	opaque, err := whiteout.IsOpaque(d.Home.Diff(s.ID), by.Shadows.To)
	if opaque {
		s.Layers = nil
	}
	return err
}

// Put ends the use that a Get began. The last Put unmounts the layer, and whatever somebody has mounted on top of it. Put retries EBUSY for
// about 1.3 seconds, and then returns a *BusyError. After an error the layer is still mounted, and Put can be called again.
func (d *Driver) Put(id string) error {
	layer, err := d.mountedLayer(id)
	if err != nil {
		return err
	}
	if !d.Stores.IsOwn(layer) {
		return d.putImage(layer)
	}
	alone := false
	lock, err := d.Home.LockLayerAnd("unmounting", id, func() (err error) {
		alone, err = d.Home.IsBase(id)
		return err
	})
	if errors.Is(err, store.ErrLayerUnknown) {
		// Callers test the error with os.IsNotExist, which looks into a PathError, but not into errors of our own.
		return &fs.PathError{Op: "aufs: unmounting layer " + id + ": " + store.ErrLayerUnknown.Error() + ": open", Path: d.Home.Layers(id), Err: fs.ErrNotExist}
	}
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if alone {
		return d.putBase(id)
	}
	return d.putMounted(layer)
}

// putImage is Put for a layer of an image store. It does not look at the layer: if somebody has changed or removed it meanwhile, the mount has
// to go all the same.
func (d *Driver) putImage(layer store.Layer) error {
	lock, err := d.Stores.Lock(layer)
	if err != nil {
		return store.LayerError("unmounting", layer.ID, err)
	}
	defer lock.Unlock()
	return d.putMounted(layer)
}

// putMounted is Put for a layer that Get mounts in any case. The caller holds the layer's lock.
func (d *Driver) putMounted(layer store.Layer) error {
	target := d.Stores.Mnt(layer)
	if d.mounted.Decrement(target) > 0 {
		return nil
	}
	if err := d.unmount(layer, target); err != nil {
		return store.LayerError("unmounting", layer.ID, err)
	}
	return nil
}

// mountedLayer returns the layer id that is mounted. After a Get of a layer in an image store, home or another image store may have got a layer
// of that name.
func (d *Driver) mountedLayer(id string) (store.Layer, error) {
	if err := store.CheckID(id); err != nil {
		return store.Layer{}, store.LayerError("unmounting", id, err)
	}
	if d.bases.has(id) {
		// This driver uses the layer of home without a mount. The mount of an image store's layer is somebody else's.
		return d.Stores.Own(id), nil
	}
	found := d.Stores.Find(id, d.Home)
	if len(d.Stores.Images) == 0 {
		return found, nil
	}
	if mounted, err := mountutil.IsMounted(d.Stores.Mnt(found)); err != nil || mounted {
		return found, nil //nolint:nilerr // unmounting it says what is wrong
	}
	for _, image := range d.Stores.Images {
		layer := store.Layer{Home: image, ID: id}
		if mounted, err := mountutil.IsMounted(d.Stores.Mnt(layer)); err == nil && mounted {
			return layer, nil
		}
	}
	return found, nil
}

// unmount unmounts the layer, and all that is mounted on top of it, from target. The caller holds the layer's lock. Another driver, with
// another backend, may have made the mount, so unmount looks at what is mounted.
func (d *Driver) unmount(layer store.Layer, target string) error {
	if !d.Stores.IsOwn(layer) {
		// The mount is read-only, and nobody has noted it.
		return mountutil.UnmountStacked(target)
	}
	return d.unmountOwn(layer.ID, target, func(err error) error { return err })
}

// unmountOwn is unmount for the layer id of this store. If a flush fails, unmountOwn calls flushFailed, and the mount stays if that returns
// an error.
func (d *Driver) unmountOwn(id, target string, flushFailed func(error) error) error {
	noted, volatile := false, false
	for mounted := true; mounted; {
		aufs, err := d.flush(id, target, aufsfs.LinkFlush.Last, layerquota.WithRoom)
		if err != nil {
			err = flushFailed(fmt.Errorf("flushing the pseudo-links, so that all names of a file show the new content: %w", err))
		}
		if err != nil {
			return err
		}
		noted = noted || aufs
		volatile = volatile || !aufs && backend.IsVolatile(d.Home, id, target)
		if err := mountutil.UnmountRetry(target); err != nil {
			return err
		}
		if mounted, err = mountutil.IsMounted(target); err != nil {
			return err
		}
	}
	if volatile {
		if err := backend.UnmountedVolatile(d.Home, id); err != nil {
			// Not fatal: the next mount does it.
			logrus.Debugf("%v", store.LayerError("cleaning up after", id, err))
		}
	}
	if noted {
		return d.Forms.Users.Notes.Drop(id)
	}
	return nil
}

// flush makes the directory of the layer id, which is mounted at target, show all that the mount shows. aufs reports whether it is an aufs
// mount. how is aufsfs.LinkFlush.Live, with layerquota.WithReserve, or aufsfs.LinkFlush.Last, with layerquota.WithRoom.
func (d *Driver) flush(id, target string, how func(aufsfs.LinkFlush) error, with layerquota.Room) (aufs bool, err error) {
	aufs, err = aufsfs.IsAufs(target)
	if errors.Is(err, unix.ESTALE) {
		// Somebody has deleted a branch of the mount. The mount shows nothing any more, and can only be unmounted.
		return false, nil
	}
	if err != nil || !aufs {
		return false, fsutil.IgnoreGone(err)
	}
	if mounted, err := mountutil.IsMounted(target); err != nil || !mounted {
		return false, err
	}
	return true, with(d.Home, id, func() error { return how(aufsfs.LinkFlush{Target: target, Writable: d.Home.Diff(id)}) })
}

// Cleanup unmounts everything under mnt/, whichever process mounted it. It also removes the staging directories of this driver that have
// not been applied to a layer.
func (d *Driver) Cleanup() error {
	mounts, err := mountutil.MountsUnder(d.Home.Mnt(""))
	if err != nil {
		return store.OpError("cleaning up", err)
	}
	var errs []error
	for _, m := range mounts {
		if err := d.unmountFound(m.Mountpoint); err != nil {
			errs = append(errs, store.OpError("cleaning up", err))
		}
	}
	d.bases.forgetAll()
	if err := d.dropStaged(); err != nil {
		errs = append(errs, store.OpError("cleaning up", err))
	}
	return errors.Join(append(errs, d.leavePrivate())...)
}

// unmountFound unmounts target, a mount that was found under mnt/: the mount of a layer, or one that somebody put there.
func (d *Driver) unmountFound(target string) error {
	id := filepath.Base(target)
	lock, err := d.Home.LockLayer("unmounting", id)
	if err != nil {
		return mountutil.UnmountRetry(target)
	}
	defer lock.Unlock()
	// target has no symbolic links in it, but the path of the store may.
	resolved, err := filepath.EvalSymlinks(d.Home.Mnt(""))
	if err != nil || filepath.Join(resolved, id) != target {
		return errors.Join(err, mountutil.UnmountRetry(target))
	}
	if alone, err := d.Home.IsBase(id); err == nil && alone {
		return d.unmountBase(id)
	}
	return d.unmount(d.Stores.Own(id), target)
}
