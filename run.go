//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What is in run/<id>/mount-*/, beside the work directory.
const (
	// ownTwin begins the names of twins that were made for the mount.
	ownTwin = "twin-"
	// watchUpper is the upper directory of a read-only mount that has such twins.
	watchUpper = "upper"
	// plainLowers lists the ancestors whose own directories are in the mount, an id a line.
	plainLowers = "lowers"
)

// hasOwnTwins tells if twins were made for the one mount that run belongs to.
func hasOwnTwins(run string) bool {
	twins, err := filepath.Glob(filepath.Join(run, ownTwin+"*"))
	return err != nil || len(twins) > 0
}

// newRun makes the directory of what exists for one mount of the layer id alone.
func (h home) newRun(id string) (string, error) {
	all := h.overlay(runDir, id)
	if err := os.MkdirAll(all, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(all, "mount-")
}

// removeRun removes what existed for mounts of the layer id, none of which is left in this mount namespace. What a copy in
// another one is using stays, for the next time.
func (t *translator) removeRun(id string) error {
	all := t.home.overlay(runDir, id)
	runs, err := os.ReadDir(all)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, run := range runs {
		path := filepath.Join(all, run.Name())
		used, err := t.runInUse(path)
		if err == nil && !used {
			err = removeTree(path)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return layerError("cleaning up after", id, err)
	}
	if err := os.Remove(all); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		return layerError("cleaning up after", id, err)
	}
	return nil
}

// runInUse tells if a mount is using what is in run.
func (t *translator) runInUse(run string) (bool, error) {
	if used, err := aufsUses(run); err != nil || used {
		return used, err
	}
	upper := filepath.Join(run, watchUpper)
	if _, err := os.Lstat(upper); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return t.inUse(upper, ownForm())
}

// isPlainLower tells if a mount has the directory of the layer id as a lower one. Overlayfs says nothing about those; the
// mounts of this driver do.
func (t *translator) isPlainLower(id string) (bool, error) {
	lists, err := filepath.Glob(t.home.overlay(runDir, "*", "mount-*", plainLowers))
	if err != nil {
		return false, err
	}
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if strings.Contains("\n"+string(content), "\n"+id+"\n") {
			return true, nil
		}
	}
	return false, nil
}
