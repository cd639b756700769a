//go:build linux

package driver

import (
	"github.com/seed-642172e2/aufs/internal/core/creation"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/staging"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// StageLayer unpacks an archive for a layer that does not exist yet, on top of the layer parent, or "". It returns the directory with the
// files, and their size in bytes. The files are then on the disk. The caller has to pass the directory to CommitLayer or to CleanupStagedLayer
// of this driver; after a crash the next Init removes it. After an error nothing is left of it.
//
// The error matches store.ErrLayerUnknown if there is no such parent.
func (d *Driver) StageLayer(parent string, options ApplyOptions) (target string, size int64, err error) {
	if options.Diff == nil {
		return "", 0, stagingError(parent, ErrNoArchive)
	}
	dir, err := d.stagedLayers.New(d.Home)
	if err != nil {
		return "", 0, stagingError(parent, err)
	}
	err = d.stagedLayers.Fill(dir, func() (l *staging.Layer, err error) {
		root, err := creation.RootOn(d.Stores, parent, options.Mappings)
		if err == nil {
			l, size, err = staging.Unpack(dir, root, options.Diff, d.UnpackOptions(options), d.Library.Extractor)
		}
		return l, err
	})
	if err != nil {
		return "", 0, stagingError(parent, err)
	}
	return dir.Target, size, nil
}

// stagingError says that no archive can be staged for a layer on top of parent, or "", and wraps the reason.
func stagingError(parent string, err error) error {
	if parent == "" {
		return store.OpError("staging a layer", err)
	}
	return store.LayerError("staging a layer on top of", parent, err)
}

// CommitLayer makes target, a directory that StageLayer of this driver has returned, the directory of the layer id. The layer gets all of the
// archive or nothing, unless it is mounted, or has files or a quota. When CommitLayer returns, everything is on the disk, as after ApplyDiff.
// After an error nothing is left of target. It is an error if the layer was mounted with other id maps than those that StageLayer was given.
//
// The storage library commits to layers with files, too: by then it has changed the owners in a layer whose owners are not those of its
// parent, or has made the layer from a template.
func (d *Driver) CommitLayer(id, target string) error {
	const op = "committing a staged layer to"
	s, ok := d.stagedLayers.Take(target)
	if !ok {
		return store.LayerError(op, id, staging.NotStaged(target))
	}
	defer staging.Remove(s.Scratch)
	if err := d.Stores.MustChange(op, id); err != nil {
		return err
	}
	lock, err := d.Home.LockLayer(op, id)
	if err != nil {
		return err
	}
	alone, err := d.commitLayer(id, s)
	lock.Unlock()
	if err == nil && !alone {
		err = d.commitToContent(id, s)
	}
	if err != nil {
		return store.LayerError(op, id, err)
	}
	return nil
}

// commitLayer is CommitLayer for a caller that holds the layer's lock. If the layer has files or a quota, or is mounted, commitLayer does
// nothing, and alone is false.
func (d *Driver) commitLayer(id string, s *staging.Layer) (alone bool, err error) {
	if err := shift.MustFit(d.Stores, id, s.Maps); err != nil {
		return false, err
	}
	if alone, err = d.canUnpack(id); err != nil || !alone {
		return alone, err
	}
	if q, err := layerquota.Of(d.Home, id); err != nil || q.Project != 0 {
		// The files of target do not count in the layer's quota. Those that are written to the layer do.
		return false, err
	}
	if err := d.prepareUnpack(id); err != nil {
		return true, err
	}
	if err := s.SetRoot(d.Home.Diff(id)); err != nil {
		return true, err
	}
	_, marked, err := s.Settle(d.belowOf(d.Stores.Own(id)))
	if err != nil {
		return true, err
	}
	return true, d.putUnpacked(id, s.Target, marked, s.Scratch)
}

// commitToContent is CommitLayer for a layer that is mounted, or has files or a quota. The archive is gone by now, so it is made again.
func (d *Driver) commitToContent(id string, s *staging.Layer) error {
	// Directories that the archive only implies stay as the layer itself shows them.
	archive, err := s.Archive(func() ([]whiteout.LayerDir, error) {
		own, err := d.Stores.Own(id).WithForm()
		if err != nil {
			return nil, err
		}
		below, err := d.Stores.Below(d.Stores.Own(id))
		return append([]whiteout.LayerDir{own}, below...), err
	}, d.Library.FileInfoHeader)
	if err != nil {
		return err
	}
	defer archive.Close()
	_, err = d.applyToContent(id, ApplyOptions{Diff: archive})
	return err
}

// CleanupStagedLayer removes what StageLayer of this driver has made, unless it was committed.
func (d *Driver) CleanupStagedLayer(target string) error {
	s, ok := d.stagedLayers.Take(target)
	if !ok {
		return nil
	}
	if err := s.Remove(); err != nil {
		return store.OpError("removing the staged layer "+target, err)
	}
	return nil
}
