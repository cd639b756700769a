//go:build linux

package driver

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/creation"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
)

// An archive can be unpacked before its layer exists. While it is, the storage library does not lock its store, and other programs can use
// it. Left for the commit, for which the library locks the store, is what depends on the layers below, and to put the files in their place.

// stagedLayer is an archive that was unpacked for a layer.
type stagedLayer struct {
	*store.Scratch
	// root is what the root directory has unless the archive says something else.
	root      creation.RootDir
	extracted *unpack.Extracted
}

// StageLayer unpacks an archive for a layer that does not exist yet, on top of the layer parent, or "". It returns the directory with the
// files, which is on the disk, and how many bytes are in them. The caller has to pass the directory to CommitLayer or to CleanupStagedLayer of
// this driver; after a crash the next Init removes it. After an error nothing is left of it.
//
// The error matches store.ErrLayerUnknown if there is no such parent.
func (d *Driver) StageLayer(parent string, options ApplyOptions) (target string, size int64, err error) {
	if options.Diff == nil {
		return "", 0, stagingError(parent, errNoArchive)
	}
	s, err := d.stagedLayers.pool.Join(func() (*store.Scratch, error) { return d.home.NewScratch(stagingPurpose) })
	if err != nil {
		return "", 0, stagingError(parent, err)
	}
	target = filepath.Join(s.Dir, stagedRoot)
	var staged *stagedLayer
	defer func() {
		// The caller may recover from a panic of the archive's reader.
		if staged == nil {
			removeStaging(s)
		}
	}()
	root, extracted, err := d.stageLayer(target, parent, options)
	if err == nil {
		size, err = extracted.Size()
	}
	if err == nil {
		// Not at the commit, when others wait for the store.
		err = s.SyncData()
	}
	if err != nil {
		return "", 0, stagingError(parent, err)
	}
	staged = &stagedLayer{s, root, extracted}
	d.stagedLayers.add(target, staged)
	return target, size, nil
}

// stagingError says that no archive can be staged for a layer on top of parent, or "", and wraps the reason.
func stagingError(parent string, err error) error {
	if parent == "" {
		return store.OpError("staging a layer", err)
	}
	return store.LayerError("staging a layer on top of", parent, err)
}

// stageLayer unpacks an archive to target, which gets the owner and mode that Create gives the root directory of a layer.
func (d *Driver) stageLayer(target, parent string, options ApplyOptions) (root creation.RootDir, extracted *unpack.Extracted, err error) {
	if root, err = creation.RootOn(d.stores, parent, options.Mappings); err != nil {
		return root, nil, err
	}
	like := filepath.Join(filepath.Dir(target), "like")
	for _, dir := range []string{like, target} {
		if _, err := root.Make(dir); err != nil {
			return root, nil, err
		}
	}
	extracted, err = unpack.Extract(target, like, options.Diff, d.UnpackOptions(options), d.library.Extractor)
	if err != nil {
		return root, nil, err
	}
	return root, extracted, os.Remove(like)
}

// CommitLayer makes the directory target, which StageLayer of this driver has returned, that of the layer id. The result is that of ApplyDiff:
// the layer gets all of the archive or nothing, unless it is mounted or has files already, and everything is on the disk when CommitLayer
// returns. After an error nothing is left of target.
//
// The storage library commits to layers with files, too: by then it has changed the owners in a layer whose owners are not those of its
// parent, or has made the layer from a template.
func (d *Driver) CommitLayer(id, target string) error {
	const op = "committing a staged layer to"
	s, ok := d.stagedLayers.take(target)
	if !ok {
		return store.LayerError(op, id, notStaged(target))
	}
	defer removeStaging(s.Scratch)
	if err := d.stores.MustChange(op, id); err != nil {
		return err
	}
	lock, err := d.home.LockLayer(op, id)
	if err != nil {
		return err
	}
	alone, err := d.commitLayer(id, target, s)
	lock.Unlock()
	if err == nil && !alone {
		err = d.commitToContent(id, target, s)
	}
	if err != nil {
		return store.LayerError(op, id, err)
	}
	return nil
}

// commitLayer is CommitLayer for who holds the layer's lock. If the layer has files or is mounted, commitLayer does nothing, and alone is
// false.
func (d *Driver) commitLayer(id, target string, s *stagedLayer) (alone bool, err error) {
	if alone, err = d.canUnpack(id); err != nil || !alone {
		return alone, err
	}
	if err := d.prepareUnpack(id); err != nil {
		return true, err
	}
	if err := s.setRoot(target, d.home.Diff(id)); err != nil {
		return true, err
	}
	_, marked, err := s.extracted.Settle(d.belowOf(id))
	if err != nil {
		return true, err
	}
	return true, d.putUnpacked(id, target, marked, s.Scratch)
}

// setRoot gives the root directory of target what the layer's has, unless the archive says something else. The layer may have become another
// one than was expected: its owners are not those of its parent, or somebody has made the parent again.
func (s *stagedLayer) setRoot(target, layer string) error {
	own, err := s.hasRoot(target)
	if err != nil || own {
		return err
	}
	root, err := creation.RootDirAt(layer)
	if err != nil || root == s.root {
		return err
	}
	return root.Set(target)
}

// hasRoot reports whether the archive has changed the owner or mode of the root directory of target.
func (s *stagedLayer) hasRoot(target string) (bool, error) {
	now, err := creation.RootDirAt(target)
	return err == nil && now != s.root, err
}

// commitToContent is CommitLayer for a layer that is mounted or has files. The archive is gone by now, so it is made again.
func (d *Driver) commitToContent(id, target string, s *stagedLayer) error {
	// Directories that the archive only implies stay as the layer itself shows them.
	_, _, err := s.extracted.Settle(func() ([]whiteout.LayerDir, error) {
		own, err := d.stores.Own(id).WithForm()
		if err != nil {
			return nil, err
		}
		below, err := d.stores.Below(d.stores.Own(id))
		return append([]whiteout.LayerDir{own}, below...), err
	})
	if err != nil {
		return err
	}
	var root bytes.Buffer
	if own, err := s.hasRoot(target); err != nil {
		return err
	} else if own {
		if err := d.archiveRoot(&root, target); err != nil {
			return err
		}
	}
	held, err := layerdiff.HoldDir(target)
	if err != nil {
		return err
	}
	files := layerdiff.Archive(held, whiteout.AufsForm, orNone(nil), nil, true, d.library.FileInfoHeader)
	defer files.Close()
	_, err = d.applyToContent(id, ApplyOptions{Diff: io.MultiReader(&root, files)})
	return err
}

// archiveRoot begins an archive with the entry of the root directory of target.
func (d *Driver) archiveRoot(out io.Writer, target string) error {
	info, err := os.Lstat(target)
	if err != nil {
		return err
	}
	h, err := d.library.FileInfoHeader("./", info, "")
	if err != nil {
		return err
	}
	h.ModTime = h.ModTime.Truncate(time.Second)
	return tar.NewWriter(out).WriteHeader(h)
}

// CleanupStagedLayer removes what StageLayer of this driver has made, unless it was committed.
func (d *Driver) CleanupStagedLayer(target string) error {
	s, ok := d.stagedLayers.take(target)
	if !ok {
		return nil
	}
	if err := s.Remove(); err != nil {
		return store.OpError("removing the staged layer "+target, err)
	}
	return nil
}

// removeStaging removes a staging directory. The next Init sweeps what cannot be removed now.
func removeStaging(s *store.Scratch) {
	if err := s.Remove(); err != nil {
		logrus.Warnf("aufs: removing %s: %v", s.Dir, err)
	}
}
