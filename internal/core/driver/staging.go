//go:build linux

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
)

// What another one than ApplyDiff fills a layer with: a differ of the storage library, as that of pkg/chunked, which fetches those parts of
// a layer that no other layer has. It fills a staging directory, while no layer is known that this is for; later that takes
// the place of a layer's directory, or is removed. The storage library calls the path that the differ fills its target.

// stagingPurpose begins the names of staging directories.
const stagingPurpose = "staging"

// stagedRoot is the name of the target in a staging directory.
const stagedRoot = "root"

// stagings are a driver's staging directories, by their targets. Those of another driver are locked by it.
type stagings struct {
	// pool is where they are.
	pool store.SharedScratch
	mu   sync.Mutex // protects open
	open map[string]*store.Scratch
}

func (s *stagings) add(target string, dir *store.Scratch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]*store.Scratch{}
	}
	s.open[target] = dir
}

// take returns the staging directory of target, which is the caller's from then on, or nil.
func (s *stagings) take(target string) *store.Scratch {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := s.open[target]
	delete(s.open, target)
	return dir
}

// takeAll is take of all.
func (s *stagings) takeAll() []*store.Scratch {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Values(s.open))
	s.open = nil
	return all
}

// Stage has fill fill a staging directory, and returns that. It is to be given to ApplyStaged or to CleanupStagingDirectory of this driver;
// after a crash the next Init removes it. After an error it is gone. scratch is a directory that fill can have files of its own in.
func (d *Driver) Stage(mappings *idmap.Mappings, fill func(target, scratch string) error) (target string, err error) {
	s, err := d.staged.pool.Join(func() (*store.Scratch, error) { return d.home.NewScratch(stagingPurpose) })
	if err != nil {
		return "", err
	}
	target = filepath.Join(s.Dir, stagedRoot)
	err = fsutil.MkdirWithoutACL(target, 0o755)
	if err == nil {
		err = fill(target, s.Dir)
	}
	if err == nil {
		_, err = unpack.Finish(target, orNone(mappings), kept.New(target, nil))
	}
	if err != nil {
		if rerr := s.Remove(); rerr != nil {
			logrus.Warnf("aufs: removing %s: %v", s.Dir, rerr)
		}
		return "", fmt.Errorf("aufs: filling the staging directory %s: %w", target, err)
	}
	d.staged.add(target, s)
	return target, nil
}

// ApplyStaged makes the staging directory target the content of the layer, which has to be empty and not mounted, on top of parent,
// which has to be its parent. The target has to be one of this driver. hasRoot says that the target's root directory has the metadata that
// the layer is to have. The layer has all of it or nothing, and when it returns all is on the disk. If the layer is not as it has to be, the
// staging directory stays, for another one; after other errors it is gone.
func (d *Driver) ApplyStaged(id, parent, target string, hasRoot bool) error {
	const op = "applying a staging directory to"
	direct, err := d.home.IsParent(id, parent)
	if err != nil {
		return err
	}
	if !direct {
		return store.LayerError(op, id, fmt.Errorf("%q is not its parent", parent))
	}
	lock, err := d.home.LockLayer(op, id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	alone, err := d.canUnpack(id)
	if err == nil && !alone {
		err = errors.New("the layer is mounted, or has something already")
	}
	if err != nil {
		return store.LayerError(op, id, err)
	}
	s := d.staged.take(target)
	if s == nil {
		return store.LayerError(op, id, &fs.PathError{Op: "open", Path: target, Err: fs.ErrNotExist})
	}
	defer func() {
		if rerr := s.Remove(); rerr != nil {
			// The next Init sweeps it.
			logrus.Warnf("aufs: removing %s: %v", s.Dir, rerr)
		}
	}()
	if err := d.applyStaged(id, target, hasRoot, s); err != nil {
		return store.LayerError(op, id, err)
	}
	return nil
}

// applyStaged makes the staging directory in s that of the layer id, whose lock the caller holds.
func (d *Driver) applyStaged(id, target string, hasRoot bool, s *store.Scratch) error {
	if err := d.prepareUnpack(id); err != nil {
		return err
	}
	if !hasRoot {
		if err := whiteout.CopyDirMetadata(d.home.Diff(id), whiteout.AufsForm, target); err != nil {
			return err
		}
	}
	return d.putUnpacked(id, target, nil, s)
}

// CleanupStagingDirectory removes a staging directory with all that is in it. One that is gone, or has become that of a layer,
// is no error; what another driver is at work on is one, and so is what is no staging directory.
func (d *Driver) CleanupStagingDirectory(target string) error {
	s := d.staged.take(target)
	if s == nil {
		var err error
		if s, err = d.abandonedStaging(target); err != nil || s == nil {
			return err
		}
	}
	if err := s.Remove(); err != nil {
		return fmt.Errorf("aufs: removing the staging directory %s: %w", target, err)
	}
	return nil
}

// abandonedStaging returns the scratch directory that target is in, and that may have other targets, if no live driver has it; nil if it
// is gone.
func (d *Driver) abandonedStaging(target string) (*store.Scratch, error) {
	dir, name := filepath.Split(target)
	dir = filepath.Dir(filepath.Clean(dir))
	if name != stagedRoot || filepath.Dir(dir) != d.home.BesideDiff().Tmp() || !strings.HasPrefix(filepath.Base(dir), stagingPurpose+"-") {
		return nil, fmt.Errorf("aufs: %q is no staging directory of the store %s", target, string(d.home))
	}
	locked, err := d.home.LockStore()
	if err != nil {
		return nil, err
	}
	defer locked.Unlock()
	lock, err := fsutil.TryLockDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // it is gone
	case err != nil:
		return nil, fmt.Errorf("aufs: %w", err)
	case lock == nil:
		return nil, fmt.Errorf("aufs: the staging directory %s is in use", target)
	}
	return &store.Scratch{Dir: dir, Lock: lock}, nil
}

// dropStaged removes all staging directories of this driver.
func (d *Driver) dropStaged() error {
	var errs []error
	for _, s := range d.staged.takeAll() {
		errs = append(errs, s.Remove())
	}
	return errors.Join(errs...)
}

// DifferTarget returns the directory that the layer's files are in. It is not to be changed, and has whiteouts.
func (d *Driver) DifferTarget(id string) (string, error) {
	if _, err := d.home.Parents(id); err != nil {
		return "", err
	}
	if err := fsutil.RealDirectory(d.home.Diff(id)); err != nil {
		return "", store.LayerError("reading", id, err)
	}
	return d.home.Diff(id), nil
}
