//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/unshare"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
)

// What another one than ApplyDiff fills a layer with: a graphdriver.Differ, as that of pkg/chunked, which fetches those parts of
// a layer that no other layer has. It fills a staging directory, while no layer is known that this is for; later that takes
// the place of a layer's directory, or is removed. The storage library calls the path that the differ fills its target.

// stagingPurpose begins the names of staging directories.
const stagingPurpose = "staging"

// stagedRoot is the name of the target in a staging directory.
const stagedRoot = "root"

// stagings are a driver's staging directories, by their targets. Those of another driver are locked by it.
type stagings struct {
	// pool is where they are.
	pool sharedScratch
	mu   sync.Mutex // protects open
	open map[string]*scratch
}

func (s *stagings) add(target string, dir *scratch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]*scratch{}
	}
	s.open[target] = dir
}

// take returns the staging directory of target, which is the caller's from then on, or nil.
func (s *stagings) take(target string) *scratch {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := s.open[target]
	delete(s.open, target)
	return dir
}

// takeAll is take of all.
func (s *stagings) takeAll() []*scratch {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Values(s.open))
	s.open = nil
	return all
}

// ApplyDiffWithDiffer has differ fill a staging directory, which is the Target of its output. That is to be given to
// ApplyDiffFromStagingDirectory or to CleanupStagingDirectory of this driver; its Cleanup removes it as well, and after a crash
// the next Init. After an error it is gone.
func (d *Driver) ApplyDiffWithDiffer(options *graphdriver.ApplyDiffWithDifferOpts, differ graphdriver.Differ) (graphdriver.DriverWithDifferOutput, error) {
	s, err := d.staged.pool.join(func() (*scratch, error) { return d.home.newScratch(stagingPurpose) })
	if err != nil {
		return graphdriver.DriverWithDifferOutput{}, err
	}
	target := filepath.Join(s.dir, stagedRoot)
	output, err := d.fillWith(target, options, differ)
	if err != nil {
		if rerr := s.remove(); rerr != nil {
			logrus.Warnf("aufs: removing %s: %v", s.dir, rerr)
		}
		return output, fmt.Errorf("aufs: filling the staging directory %s: %w", target, err)
	}
	output.Target = target
	d.staged.add(target, s)
	return output, nil
}

// fillWith makes the directory target and has differ fill it.
func (d *Driver) fillWith(target string, options *graphdriver.ApplyDiffWithDifferOpts, differ graphdriver.Differ) (graphdriver.DriverWithDifferOutput, error) {
	if err := fsutil.MkdirWithoutACL(target, 0o755); err != nil {
		return graphdriver.DriverWithDifferOutput{}, err
	}
	if options == nil {
		options = &graphdriver.ApplyDiffWithDifferOpts{}
	}
	differOptions := &graphdriver.DifferOptions{
		Format:      graphdriver.DifferOutputFormatDir,
		UseFsVerity: graphdriver.DifferFsVerityDisabled,
	}
	setStagingDirectory(differOptions, filepath.Dir(target))
	tarOptions := untarOptions(options.ApplyDiffOpts)
	tarOptions.IgnoreChownErrors = tarOptions.IgnoreChownErrors || d.ignoreChownErrors
	output, err := differ.ApplyDiff(target, tarOptions, differOptions)
	if err != nil {
		return output, err
	}
	_, err = finishUnpacked(target, orNone(options.Mappings), newKeeper(target, nil))
	return output, err
}

// untarOptions are those with which a layer is unpacked. Names of whiteouts are what aufs wants them to be: they stay as they
// are.
func untarOptions(options graphdriver.ApplyDiffOpts) *archive.TarOptions {
	mappings := orNone(options.Mappings)
	return &archive.TarOptions{
		UIDMaps:           mappings.UIDs(),
		GIDMaps:           mappings.GIDs(),
		IgnoreChownErrors: options.IgnoreChownErrors,
		ForceMask:         options.ForceMask,
		InUserNS:          unshare.IsRootless(),
	}
}

// ApplyDiffFromStagingDirectory makes the staging directory that is output's Target the content of the layer, which has to be
// empty and not mounted, on top of parent, which has to be its parent. The Target has to be one of this driver. The layer has
// all of it or nothing, and when it returns all is on the disk. If the layer is not as it has to be, the staging directory
// stays, for another one; after other errors it is gone.
func (d *Driver) ApplyDiffFromStagingDirectory(id, parent string, output *graphdriver.DriverWithDifferOutput, _ *graphdriver.ApplyDiffWithDifferOpts) error {
	const op = "applying a staging directory to"
	direct, err := d.isParent(id, parent)
	if err != nil {
		return err
	}
	if !direct {
		return layerError(op, id, fmt.Errorf("%q is not its parent", parent))
	}
	lock, err := d.home.lockLayer(op, id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	alone, err := d.canUnpack(id)
	if err == nil && !alone {
		err = errors.New("the layer is mounted, or has something already")
	}
	if err != nil {
		return layerError(op, id, err)
	}
	s := d.staged.take(output.Target)
	if s == nil {
		return layerError(op, id, &fs.PathError{Op: "open", Path: output.Target, Err: fs.ErrNotExist})
	}
	defer func() {
		if rerr := s.remove(); rerr != nil {
			// The next Init sweeps it.
			logrus.Warnf("aufs: removing %s: %v", s.dir, rerr)
		}
	}()
	if err := d.applyStaged(id, output, s); err != nil {
		return layerError(op, id, err)
	}
	return nil
}

// applyStaged makes the staging directory in s that of the layer id, whose lock the caller holds.
func (d *Driver) applyStaged(id string, output *graphdriver.DriverWithDifferOutput, s *scratch) error {
	if err := d.prepareUnpack(id); err != nil {
		return err
	}
	if output.RootDirMode == nil {
		if err := whiteout.CopyDirMetadata(d.home.diff(id), whiteout.AufsForm, output.Target); err != nil {
			return err
		}
	}
	return d.putUnpacked(id, output.Target, nil, s)
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
	if err := s.remove(); err != nil {
		return fmt.Errorf("aufs: removing the staging directory %s: %w", target, err)
	}
	return nil
}

// abandonedStaging returns the scratch directory that target is in, and that may have other targets, if no live driver has it; nil if it
// is gone.
func (d *Driver) abandonedStaging(target string) (*scratch, error) {
	dir, name := filepath.Split(target)
	dir = filepath.Dir(filepath.Clean(dir))
	if name != stagedRoot || filepath.Dir(dir) != d.home.besideDiff().tmp() || !strings.HasPrefix(filepath.Base(dir), stagingPurpose+"-") {
		return nil, fmt.Errorf("aufs: %q is no staging directory of the store %s", target, string(d.home))
	}
	store, err := d.home.lockStore()
	if err != nil {
		return nil, err
	}
	defer store.Unlock()
	lock, err := fsutil.TryLockDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // it is gone
	case err != nil:
		return nil, fmt.Errorf("aufs: %w", err)
	case lock == nil:
		return nil, fmt.Errorf("aufs: the staging directory %s is in use", target)
	}
	return &scratch{dir: dir, lock: lock}, nil
}

// dropStaged removes all staging directories of this driver.
func (d *Driver) dropStaged() error {
	var errs []error
	for _, s := range d.staged.takeAll() {
		errs = append(errs, s.remove())
	}
	return errors.Join(errs...)
}

// DifferTarget returns the directory that the layer's files are in. It is not to be changed, and has whiteouts.
func (d *Driver) DifferTarget(id string) (string, error) {
	if _, err := d.home.parents(id); err != nil {
		return "", err
	}
	if err := fsutil.RealDirectory(d.home.diff(id)); err != nil {
		return "", layerError("reading", id, err)
	}
	return d.home.diff(id), nil
}
