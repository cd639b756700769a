//go:build linux

package driver

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/seed-642172e2/aufs/internal/core/creation"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
)

// Create makes an empty layer on top of parent, or without a parent if parent is "". The layer appears whole or not at all: a failure
// leaves nothing of it, and the next Init removes what a crash leaves.
//
// The layer's root directory has the owner and mode of the parent's. Without a parent it has mode 0555 and the owner to whom
// opts.IDMappings maps root. The error matches ErrLayerUnknown if there is no such parent, and fs.ErrExist if there already is such a
// layer.
func (d *Driver) Create(id, parent string, opts *CreateOptions) error {
	return d.createIn(whiteout.AufsForm, id, parent, opts, quota.NoLimits)
}

// CreateReadWrite is Create for a layer that is going to be mounted writable. With the overlay backend, a layer with a parent is in overlay
// form from the start, so that its first mount need not wait for the disk. The layer has the limits that opts.StorageOpt says, and otherwise
// those of the driver's options.
func (d *Driver) CreateReadWrite(id, parent string, opts *CreateOptions) error {
	return d.createIn(d.Shadows.To, id, parent, opts, d.layerLimits)
}

// createIn is Create for a layer in form f, with the limits that limits returns for the layer's own options.
func (d *Driver) createIn(f whiteout.Form, id, parent string, opts *CreateOptions, limits func(options map[string]string) (quota.Limits, error)) error {
	if err := store.CheckNewID(id); err != nil {
		return store.LayerError("creating", id, err)
	}
	if opts == nil {
		opts = &CreateOptions{}
	}
	l, err := limits(opts.StorageOpt)
	if err != nil {
		return store.LayerError("creating", id, err)
	}
	rubbish, err := d.createLocked(creation.Plan{ID: id, Form: f, Mappings: opts.IDMappings, Limits: l}, parent)
	if rubbish != nil {
		if rerr := rubbish.Remove(); rerr != nil {
			logrus.Warn(store.OpError("sweeping", rerr))
		}
	}
	return err
}

// createLocked is Create under the store lock. rubbish is what was left of an earlier layer of that name; the caller has to remove it.
func (d *Driver) createLocked(layer creation.Plan, parent string) (rubbish *store.Scratch, err error) {
	id := layer.ID
	storeLock, err := d.Home.LockStore()
	if err != nil {
		return nil, store.LayerError("creating", id, err)
	}
	defer storeLock.Unlock()
	absent, err := d.Home.Absent(id)
	if err == nil && !absent {
		err = &fs.PathError{Op: "create", Path: d.Home.Layers(id), Err: fs.ErrExist}
	}
	if err != nil {
		return nil, store.LayerError("creating", id, err)
	}
	layer.Parents, err = creation.Lineage(d.Stores, id, parent)
	if err == nil {
		err = creation.NotBelow(d.Stores, id, layer.Parents)
	}
	if err != nil {
		return nil, err
	}
	rubbish, err = d.Remover.SweepLayer(id)
	if err != nil {
		return rubbish, store.LayerError("creating", id, fmt.Errorf("removing the rest of an earlier layer with this id: %w", err))
	}
	if err := layer.Make(d.Home); err != nil {
		return rubbish, store.LayerError("creating", id, err)
	}
	return rubbish, nil
}

// CreateFromTemplate makes a layer with the content of the layer template. The new layer is a child of template, so making it takes neither
// time nor space.
func (d *Driver) CreateFromTemplate(id, template string, opts *CreateOptions, readWrite bool) error {
	if readWrite {
		return d.CreateReadWrite(id, template, opts)
	}
	return d.Create(id, template, opts)
}

// Remove unmounts the layer, whoever uses it, and removes it with all its files. If the mount stays busy, the layer keeps all its data, and
// the error says what to look for. A copy of the mount in another mount namespace does not prevent the removal, since the copy could stay
// forever. An id that is not in home is no error, not even if an image store has it: the library removes whatever a failed Create may have left,
// and cannot open its store if that fails.
func (d *Driver) Remove(id string) error {
	clean, err := d.DeferredRemove(id)
	if err != nil {
		return err
	}
	return clean()
}

// unmountForRemoval unmounts all that is mounted at target, the mount point of the layer id. The removal may yet fail, so hard links must keep
// their content. But a removal is also what makes room on a full disk, on which there may be no room for a flush. The mount may turn out to be
// busy, but aufs warns of pseudo-links that it still has at an unmount, so LinkFlush.Live would not do.
func (d *Driver) unmountForRemoval(id, target string) error {
	return d.unmountOwn(id, target, func(err error) error {
		logrus.Warn(store.LayerError("removing", id, err))
		return nil
	})
}

// DeferredRemove is Remove, except that the layer's files stay until the caller calls clean. The layer no longer exists when DeferredRemove
// returns. clean can be called even if err is not nil. If clean is never called, or fails, the next Init deletes the files.
func (d *Driver) DeferredRemove(id string) (clean func() error, err error) {
	nothing := func() error { return nil }
	if err := store.CheckID(id); err != nil {
		return nothing, store.LayerError("removing", id, err)
	}
	lock, err := d.Home.LockID(id)
	if err != nil {
		return nothing, store.LayerError("removing", id, err)
	}
	defer lock.Unlock()
	// Unmount while the layer is whole: a busy layer keeps its data.
	if err := d.Remover.ClearMounts(id, func(target string) error { return d.unmountForRemoval(id, target) }); err != nil {
		return nothing, store.LayerError("removing", id, err)
	}
	trash, left, err := d.Remover.TakeOut(id)
	if err != nil {
		return nothing, store.LayerError("removing", id, err)
	}
	d.bases.forget(id)
	return func() error {
		err := left
		if trash != nil {
			err = errors.Join(left, trash.Remove())
		}
		if err != nil {
			return store.LayerError("removing the files of", id, err)
		}
		return nil
	}, nil
}
