//go:build linux

package driver

import (
	"errors"
	"sync"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/bindmount"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// A layer without parents needs no mount: Get returns its own directory. But a plain directory cannot have mount flags or an SELinux label.
// If the options ask for these, the layer is mounted at mnt/<id>: with a bind mount if that can have them, and otherwise by the backend.

// baseUses counts the users of layers without parents in this process.
type baseUses struct {
	mu sync.Mutex
	// of has the layers that are in use, by id. mu protects it.
	of map[string]baseUse
}

type baseUse struct {
	// gets counts the Gets that have had no Put yet. A Put does not say whether it ends a Get that has mounted the layer.
	gets int
	// mounted says that one of these Gets has mounted the layer.
	mounted bool
}

// get counts a Get of the layer id. mounted says that this Get has mounted the layer.
func (b *baseUses) get(id string, mounted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[string]baseUse{}
	}
	use := b.of[id]
	b.of[id] = baseUse{gets: use.gets + 1, mounted: use.mounted || mounted}
}

// has reports whether the layer id is in use.
func (b *baseUses) has(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.of[id]
	return ok
}

// put counts a Put, and reports whether the layer is to be unmounted: if this was the last Put and this process mounted the layer, or if
// the Put ends a Get of another process.
func (b *baseUses) put(id string) (unmount bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	use, ok := b.of[id]
	if !ok {
		return true
	}
	if use.gets--; use.gets > 0 {
		b.of[id] = use
		return false
	}
	delete(b.of, id)
	return use.mounted
}

// forget drops the count of a layer that was removed.
func (b *baseUses) forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, id)
}

// forgetAll drops all counts: after a Cleanup, no layer is mounted any more.
func (b *baseUses) forgetAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of = nil
}

// getBase is Get for a layer without parents. The caller holds the layer's lock.
func (d *Driver) getBase(id string, o backend.MountOptions, label string) (string, error) {
	err := o.Shift.Begin()
	if err == nil && !o.ReadOnly() {
		err = d.Home.RecordWritten(id)
	}
	if err != nil {
		return "", store.LayerError("mounting", id, o.Shift.End(err))
	}
	if o.Flags == 0 && label == "" {
		d.bases.get(id, false)
		return d.Home.Diff(id), nil
	}
	target := d.Home.Mnt(id)
	mounted, err := mountutil.IsMounted(target)
	if err == nil && !mounted {
		err = d.mountBase(d.Stores.Own(id), nil, o, label)
	} else if err == nil {
		err = o.Shift.Agrees(target)
	}
	if err != nil {
		return "", store.LayerError("mounting", id, o.Shift.End(err))
	}
	d.bases.get(id, !mounted)
	return target, nil
}

// mountBase is mount for a layer without parents. Only the backend shifts owners. A bind mount leaves out the options for aufs: they say how
// aufs puts layers together, and there is only one layer.
func (d *Driver) mountBase(layer store.Layer, _ []store.Layer, o backend.MountOptions, label string) error {
	if label != "" || o.Flags&^bindmount.Flags != 0 || o.Shift.ShiftsAny() {
		return d.Mount(layer, nil, o, label)
	}
	target := d.Stores.Mnt(layer)
	if err := d.Stores.MakeMountPoint(layer); err != nil {
		return err
	}
	err := bindmount.Mount(d.Home, layer.Dir(), target, o.Flags)
	if errors.Is(err, unix.EPERM) {
		// A process in a user namespace may not change the access time flags of a mount that was copied from outside the namespace.
		return d.Mount(layer, nil, o, label)
	}
	return err
}

// putBase is Put for a layer without parents. The caller holds the layer's lock.
func (d *Driver) putBase(id string) error {
	if d.bases.put(id) {
		if err := d.unmountBase(id); err != nil {
			return store.LayerError("unmounting", id, err)
		}
	}
	return nil
}

// unmountBase unmounts a layer without parents, if it is mounted.
func (d *Driver) unmountBase(id string) error {
	target := d.Home.Mnt(id)
	if mounted, err := mountutil.IsMounted(target); err != nil || !mounted {
		return err
	}
	if err := d.unmount(d.Stores.Own(id), target); err != nil {
		return err
	}
	if err := d.dropOwnFiles(id); err != nil {
		// Not fatal: aufs makes these files anew, and nobody else relies on them.
		logrus.Warnf("%v", store.LayerError("cleaning up after", id, err))
	}
	return nil
}

// dropOwnFiles removes the files that aufs has left for itself in a layer without parents: whoever gets the layer's directory would see
// them. Other files under such names are content, and stay.
func (d *Driver) dropOwnFiles(id string) error {
	if !shadow.WasWritable(d.Home.Diff(id)) {
		return nil
	}
	if used, err := d.Forms.Users.AufsUses(id); err != nil || used {
		return err
	}
	root, err := fsutil.OpenReal(d.Home.Diff(id))
	if err != nil {
		return err
	}
	defer root.Close()
	return whiteout.DropOwnFiles(root)
}
