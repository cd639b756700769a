//go:build linux

package driver

import (
	"errors"
	"fmt"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/staging"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// Stage makes a staging directory, has fill fill it, and returns its target. The caller has to pass the target to ApplyStaged or
// CleanupStagingDirectory of this driver; after a crash the next Init removes the staging directory. After an error nothing is left of it.
// fill may put files of its own into the directory scratch.
func (d *Driver) Stage(mappings *idmap.Mappings, fill func(target, scratch string) error) (target string, err error) {
	dir, err := d.staged.New(d.Home)
	if err != nil {
		return "", store.OpError("filling a staging directory", err)
	}
	err = d.staged.Fill(dir, func() (staging.Directory, error) {
		err := fsutil.MkdirWithoutACL(dir.Target, 0o755)
		if err == nil {
			err = fill(dir.Target, dir.Dir)
		}
		if err == nil {
			_, err = unpack.Finish(dir.Target, orNone(mappings), kept.New(dir.Target, nil))
		}
		return dir, err
	})
	if err != nil {
		return "", store.OpError("filling the staging directory "+dir.Target, err)
	}
	return dir.Target, nil
}

// ApplyStaged makes the staging directory target the content of the layer id. The layer has to be empty and not mounted, parent has to be
// its parent, and this driver has to have staged target. hasRoot says that the target's root directory already has the metadata that the
// layer is to have.
//
// The layer gets all of the content or nothing, and everything is on the disk when ApplyStaged returns. If the layer cannot take the
// content (it is unknown, read-only, mounted or not empty, it has a quota or was mounted with id maps, or parent is wrong), the staging
// directory stays, and can be applied to another layer. If applying it fails, it is gone.
func (d *Driver) ApplyStaged(id, parent, target string, hasRoot bool) error {
	const op = "applying a staging directory to"
	_, direct, err := d.child(id, parent)
	if err == nil {
		err = d.Stores.MustChange(op, id)
	}
	if err != nil {
		return store.LayerError(op, id, err)
	}
	if !direct {
		return store.LayerError(op, id, fmt.Errorf("the parent of the layer is not %q", parent))
	}
	lock, err := d.Home.LockLayer(op, id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	alone, err := d.canUnpack(id)
	if err == nil && !alone {
		err = errNotAlone
	}
	if err == nil {
		err = layerquota.MustHaveNone(d.Home, id)
	}
	if err == nil {
		err = shift.MustFit(d.Stores, id, orNone(nil))
	}
	if err != nil {
		return store.LayerError(op, id, err)
	}
	dir, ok := d.staged.Take(target)
	if !ok {
		return store.LayerError(op, id, staging.NotStaged(target))
	}
	defer staging.Remove(dir.Scratch)
	if err := d.applyStaged(id, dir, hasRoot); err != nil {
		return store.LayerError(op, id, err)
	}
	return nil
}

// applyStaged makes the target of dir the directory of the layer id. The caller holds the layer's lock.
func (d *Driver) applyStaged(id string, dir staging.Directory, hasRoot bool) error {
	if err := d.prepareUnpack(id); err != nil {
		return err
	}
	if !hasRoot {
		if err := whiteout.CopyDirMetadata(d.Home.Diff(id), whiteout.AufsForm, dir.Target); err != nil {
			return err
		}
	}
	return d.putUnpacked(id, dir.Target, nil, dir.Scratch)
}

// CleanupStagingDirectory removes a staging directory with everything in it. It is no error if the staging directory is gone, or has been
// applied to a layer. It is an error if another driver is using it, or if target is no staging directory.
func (d *Driver) CleanupStagingDirectory(target string) error {
	dir, ok := d.staged.Take(target)
	s := dir.Scratch
	if !ok {
		var err error
		if s, err = staging.Abandoned(d.Home, target); err != nil {
			return store.OpError("removing the staging directory "+target, err)
		}
		if s == nil {
			return nil
		}
	}
	if err := s.Remove(); err != nil {
		return store.OpError("removing the staging directory "+target, err)
	}
	return nil
}

// dropStaged removes all staging directories of this driver.
func (d *Driver) dropStaged() error {
	var errs []error
	for _, s := range d.staged.TakeAll() {
		errs = append(errs, s.Remove())
	}
	for _, s := range d.stagedLayers.TakeAll() {
		errs = append(errs, s.Remove())
	}
	return errors.Join(errs...)
}

// DifferTarget returns the directory that has the layer's files. The directory may have whiteouts, and must not be changed.
func (d *Driver) DifferTarget(id string) (string, error) {
	layer, _, err := d.child(id, "")
	if err != nil {
		return "", store.LayerError("reading", id, err)
	}
	if err := fsutil.RealDirectory(layer.Dir()); err != nil {
		return "", store.LayerError("reading", id, err)
	}
	return layer.Dir(), nil
}
