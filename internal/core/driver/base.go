//go:build linux

package driver

import (
	"errors"
	"sync"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// A layer without parents needs no mount: Get returns its own directory. It is mounted all the same, at mnt/<id>, where the options ask for
// what a directory cannot have: by a bind mount with their flags or, for what takes a file system, by the backend.

// baseUses counts the users of layers without parents in this process.
type baseUses struct {
	mu sync.Mutex
	// of has the layers that are in use, by their ids; under mu.
	of map[string]baseUse
}

type baseUse struct {
	// gets is how many Gets have had no Put yet. Put does not say which one it ends: one that has mounted the layer, or one that has not.
	gets int
	// mounted: one of them has mounted it.
	mounted bool
}

// get counts a Get of the layer id, which has mounted it or not.
func (b *baseUses) get(id string, mounted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[string]baseUse{}
	}
	use := b.of[id]
	b.of[id] = baseUse{gets: use.gets + 1, mounted: use.mounted || mounted}
}

// put counts a Put, and tells if the layer is to be unmounted: if it was the last one, and the layer was mounted by this process, or if it
// ends a Get of another process.
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

// forget is for a layer that is removed.
func (b *baseUses) forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, id)
}

// forgetAll is for a Cleanup: no layer is mounted any more.
func (b *baseUses) forgetAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of = nil
}

// getBase is Get for a layer without parents. The caller has its lock.
func (d *Driver) getBase(id string, o backend.MountOptions, label string) (string, error) {
	if !o.ReadOnly() {
		if err := d.home.MarkWritten(id); err != nil {
			return "", err
		}
	}
	if o.Flags == 0 && label == "" {
		d.bases.get(id, false)
		return d.home.Diff(id), nil
	}
	target := d.home.Mnt(id)
	mounted, err := mountutil.IsMounted(target)
	if err == nil && !mounted {
		err = d.mountBase(id, o, label)
	}
	if err != nil {
		return "", store.LayerError("mounting", id, err)
	}
	d.bases.get(id, !mounted)
	return target, nil
}

// mountBase mounts a layer without parents. Options of aufs say how it puts layers together, and here is one.
func (d *Driver) mountBase(id string, o backend.MountOptions, label string) error {
	if label != "" || o.Flags&^store.BindFlags != 0 {
		return d.mount(id, nil, o, label)
	}
	target := d.home.Mnt(id)
	if err := makeMountPoint(target); err != nil {
		return err
	}
	err := d.home.Bind(d.home.Diff(id), target, o.Flags)
	if errors.Is(err, unix.EPERM) {
		// A user namespace may not change how access times are kept, in a copy of a mount from outside.
		return d.mount(id, nil, o, label)
	}
	return err
}

// putBase is Put for a layer without parents. The caller has its lock.
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
	target := d.home.Mnt(id)
	if mounted, err := mountutil.IsMounted(target); err != nil || !mounted {
		return err
	}
	if err := d.unmount(id, target); err != nil {
		return err
	}
	if err := d.dropOwnFiles(id); err != nil {
		// Aufs makes them anew, and nobody else goes by them.
		logrus.Warnf("%v", store.LayerError("cleaning up after", id, err))
	}
	return nil
}

// dropOwnFiles removes what aufs has left in a layer without parents, which shows it to those who get its directory. What else is there under
// such names is somebody's content.
func (d *Driver) dropOwnFiles(id string) error {
	if !shadow.WasWritable(d.home.Diff(id)) {
		return nil
	}
	if used, err := d.forms.Users.AufsUses(id); err != nil || used {
		return err
	}
	root, err := fsutil.OpenReal(d.home.Diff(id))
	if err != nil {
		return err
	}
	defer root.Close()
	return whiteout.DropOwnFiles(root)
}
