//go:build linux

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/sirupsen/logrus"
)

// An archive can be unpacked before its layer exists. While it is, the storage library does not lock its store, and other programs can use
// it. The commit, for which the library locks the store, takes no longer than a rename.

// stagedLayer is an archive that was unpacked for a layer on top of parent.
type stagedLayer struct {
	*store.Scratch
	parent    string
	extracted *unpack.Extracted
}

// StageLayer unpacks an archive for a layer that does not exist yet, on top of the layer parent, or "". It returns the directory with the
// files, which is on the disk, and how many bytes are in them. The caller has to pass the directory to CommitLayer or to CleanupStagedLayer of
// this driver; after a crash the next Init removes it. After an error nothing is left of it.
//
// The error matches store.ErrLayerUnknown if there is no such parent.
func (d *Driver) StageLayer(parent string, options ApplyOptions) (target string, size int64, err error) {
	const op = "staging a layer on top of"
	if options.Diff == nil {
		return "", 0, store.LayerError(op, parent, errNoArchive)
	}
	s, err := d.stagedLayers.pool.Join(func() (*store.Scratch, error) { return d.home.NewScratch(stagingPurpose) })
	if err != nil {
		return "", 0, store.LayerError(op, parent, err)
	}
	target = filepath.Join(s.Dir, stagedRoot)
	extracted, err := d.stageLayer(target, parent, options)
	if err == nil {
		size, err = extracted.Size()
	}
	if err == nil {
		// Not at the commit, when others wait for the store.
		err = s.SyncData()
	}
	if err != nil {
		removeStaging(s)
		return "", 0, store.LayerError(op, parent, err)
	}
	d.stagedLayers.add(target, &stagedLayer{s, parent, extracted})
	return target, size, nil
}

// stageLayer unpacks an archive to target, which gets the owner and mode that Create gives the root directory of a layer.
func (d *Driver) stageLayer(target, parent string, options ApplyOptions) (*unpack.Extracted, error) {
	var parents []string
	if parent != "" {
		if err := store.CheckID(parent); err != nil {
			return nil, err
		}
		if !d.home.Exists(parent) {
			return nil, store.ErrLayerUnknown
		}
		parents = []string{parent}
	}
	root, err := d.rootOf(parents, &CreateOptions{IDMappings: options.Mappings})
	if errors.Is(err, fs.ErrNotExist) && !d.home.Exists(parent) {
		// Nobody has locked the store, so that somebody may just have removed it.
		return nil, store.ErrLayerUnknown
	}
	if err != nil {
		return nil, err
	}
	like := filepath.Join(filepath.Dir(target), "like")
	for _, dir := range []string{like, target} {
		if _, err := root.make(dir); err != nil {
			return nil, err
		}
	}
	extracted, err := unpack.Extract(target, like, options.Diff, d.UnpackOptions(options), d.library.Extractor)
	if err != nil {
		return nil, fmt.Errorf("unpacking the archive: %w", err)
	}
	return extracted, os.Remove(like)
}

// CommitLayer makes the directory target, which StageLayer of this driver has returned, that of the layer id. The layer has to be empty and not
// mounted, and its parent has to be the one that the archive was staged for. The layer gets all of the archive or nothing, and everything is on
// the disk when CommitLayer returns. After an error nothing is left of target.
func (d *Driver) CommitLayer(id, target string) error {
	const op = "committing a staged layer to"
	s, ok := d.stagedLayers.take(target)
	if !ok {
		return store.LayerError(op, id, &fs.PathError{Op: "open", Path: target, Err: fs.ErrNotExist})
	}
	defer removeStaging(s.Scratch)
	if direct, err := d.home.IsParent(id, s.parent); err != nil {
		return err
	} else if !direct {
		return store.LayerError(op, id, fmt.Errorf("%q is not its parent", s.parent))
	}
	lock, err := d.home.LockLayer(op, id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := d.commitLayer(id, target, s); err != nil {
		return store.LayerError(op, id, err)
	}
	return nil
}

// commitLayer is CommitLayer for who holds the layer's lock.
func (d *Driver) commitLayer(id, target string, s *stagedLayer) error {
	alone, err := d.canUnpack(id)
	if err != nil {
		return err
	}
	if !alone {
		return errNotAlone
	}
	if err := d.prepareUnpack(id); err != nil {
		return err
	}
	_, marked, err := s.extracted.Settle(d.belowOf(id))
	if err != nil {
		return err
	}
	return d.putUnpacked(id, target, marked, s.Scratch)
}

// CleanupStagedLayer removes what StageLayer of this driver has made, unless it was committed.
func (d *Driver) CleanupStagedLayer(target string) error {
	s, ok := d.stagedLayers.take(target)
	if !ok {
		return nil
	}
	if err := s.Remove(); err != nil {
		return fmt.Errorf("aufs: removing the staged layer %s: %w", target, err)
	}
	return nil
}

// removeStaging removes a staging directory. The next Init sweeps what cannot be removed now.
func removeStaging(s *store.Scratch) {
	if err := s.Remove(); err != nil {
		logrus.Warnf("aufs: removing %s: %v", s.Dir, err)
	}
}
