//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/unshare"
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

// ApplyDiffWithDiffer has differ fill a staging directory, which is the Target of its output. That is to be given to
// ApplyDiffFromStagingDirectory or to CleanupStagingDirectory of this driver; after a crash the next Init removes it. After an
// error it is gone.
func (d *Driver) ApplyDiffWithDiffer(options *graphdriver.ApplyDiffWithDifferOpts, differ graphdriver.Differ) (graphdriver.DriverWithDifferOutput, error) {
	s, err := d.home.newScratch(stagingPurpose)
	if err != nil {
		return graphdriver.DriverWithDifferOutput{}, err
	}
	target := filepath.Join(s.dir, stagedRoot)
	output, err := fillWith(target, options, differ)
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
func fillWith(target string, options *graphdriver.ApplyDiffWithDifferOpts, differ graphdriver.Differ) (graphdriver.DriverWithDifferOutput, error) {
	if err := os.Mkdir(target, 0o755); err != nil {
		return graphdriver.DriverWithDifferOutput{}, err
	}
	if options == nil {
		options = &graphdriver.ApplyDiffWithDifferOpts{}
	}
	output, err := differ.ApplyDiff(target, untarOptions(options.ApplyDiffOpts), &graphdriver.DifferOptions{
		Format:      graphdriver.DifferOutputFormatDir,
		UseFsVerity: graphdriver.DifferFsVerityDisabled,
	})
	if err != nil {
		return output, err
	}
	return output, cleanUnpacked(target, orNone(options.Mappings))
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
// empty and not mounted, on top of parent, which has to be its parent. The layer has all of it or nothing, and when it returns
// all is on the disk. After an error the staging directory is still there, but for one that says otherwise.
func (d *Driver) ApplyDiffFromStagingDirectory(id, parent string, output *graphdriver.DriverWithDifferOutput, _ *graphdriver.ApplyDiffWithDifferOpts) error {
	const op = "applying a staging directory to"
	direct, err := d.isParent(id, parent)
	if err != nil {
		return err
	}
	if !direct {
		return layerError(op, id, fmt.Errorf("%q is not its parent", parent))
	}
	s, err := d.staging(output.Target)
	if err == nil && s == nil {
		err = &fs.PathError{Op: "open", Path: output.Target, Err: fs.ErrNotExist}
	}
	if err != nil {
		return layerError(op, id, err)
	}
	if err := d.applyStaged(id, output); err != nil {
		d.staged.add(output.Target, s)
		return layerError(op, id, err)
	}
	if err := s.remove(); err != nil {
		// The next Init sweeps it.
		logrus.Warnf("aufs: removing %s: %v", s.dir, err)
	}
	return nil
}

func (d *Driver) applyStaged(id string, output *graphdriver.DriverWithDifferOutput) error {
	lock, err := d.home.lockLayer("locking", id)
	if err != nil {
		return err
	}
	defer lock.unlock()
	alone, err := d.canUnpack(id)
	if err != nil {
		return err
	}
	if !alone {
		return errors.New("the layer is mounted, or has something already")
	}
	if err := d.prepareUnpack(id); err != nil {
		return err
	}
	if output.RootDirMode == nil {
		if err := copyDirMetadata(d.home.diff(id), aufsForm, output.Target); err != nil {
			return err
		}
	}
	return d.putUnpacked(id, output.Target)
}

// CleanupStagingDirectory removes a staging directory with all that is in it. One that is gone, or has become that of a layer,
// is no error.
func (d *Driver) CleanupStagingDirectory(target string) error {
	s, err := d.staging(target)
	if err != nil || s == nil {
		return err
	}
	if err := s.remove(); err != nil {
		return fmt.Errorf("aufs: removing the staging directory %s: %w", target, err)
	}
	return nil
}

// staging returns the staging directory of target: one of this driver, or one that no live driver has; nil if it is gone. What
// is no target is an error, and so is what another driver is at work on.
func (d *Driver) staging(target string) (*scratch, error) {
	if s := d.staged.take(target); s != nil {
		return s, nil
	}
	dir, name := filepath.Split(target)
	dir = filepath.Clean(dir)
	if name != stagedRoot || filepath.Dir(dir) != d.home.tmp() || !strings.HasPrefix(filepath.Base(dir), stagingPurpose+"-") {
		return nil, fmt.Errorf("aufs: %q is no staging directory of the store %s", target, string(d.home))
	}
	store, err := d.home.lockStore()
	if err != nil {
		return nil, err
	}
	defer store.unlock()
	lock, err := tryLockDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // it is gone
	case err != nil:
		return nil, err
	case lock == nil:
		return nil, fmt.Errorf("aufs: the staging directory %s is in use", target)
	}
	return &scratch{dir: dir, lock: lock}, nil
}

// DifferTarget returns the directory that the layer's files are in. It is not to be changed, and has whiteouts.
func (d *Driver) DifferTarget(id string) (string, error) {
	if _, err := d.home.parents(id); err != nil {
		return "", err
	}
	if err := realDirectory(d.home.diff(id)); err != nil {
		return "", layerError("reading", id, err)
	}
	return d.home.diff(id), nil
}
