//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	graphdriver "github.com/containers/storage/drivers"
	"golang.org/x/sys/unix"
)

// What is in run/<id>/mount-*/, beside the work directory and what was made for the mount.
const (
	// ownTwin begins the names of twins that were made for the mount.
	ownTwin = "twin-"
	// watchUpper is the upper directory of a read-only overlay mount.
	watchUpper = "upper"
	// plainLowers lists the layers whose own directories are in an overlay mount as lower ones, an id a line.
	plainLowers = "lowers"
	// aufsMountID is a note of an aufs mount: see mountnote.go.
	aufsMountID = "si"
)

// newRun makes the directory of what exists for one mount of the layer id alone. It is "", which is no directory, for a
// read-only mount in a store that is read-only itself: no layer can change there, so that nobody has to know of the mount.
func (h home) newRun(id string, o mountOptions) (run string, err error) {
	all := h.besideDiff().overlay(runDir, id)
	if err = os.Mkdir(all, 0o700); errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(all, 0o700)
	}
	if err == nil || errors.Is(err, fs.ErrExist) {
		run, err = os.MkdirTemp(all, "mount-")
	}
	if errors.Is(err, unix.EROFS) && o.readOnly() {
		return "", nil
	}
	return run, err
}

// errNoRun: a read-only store has no place for it.
var errNoRun = errors.New("the store is read-only, and this would have to be made for the mount: mount the layer once where it can be written to, " +
	"and what is made is kept")

// runs are the directories of the mounts of the layer id; nil if not even the one is there that they would be in.
func (h home) runs(id string) ([]string, error) {
	all := h.besideDiff().overlay(runDir, id)
	entries, err := listDir(all)
	if err != nil {
		return nil, ignoreGone(err)
	}
	paths := make([]string, 0, len(entries))
	for _, entry := range entries {
		paths = append(paths, filepath.Join(all, entry.Name()))
	}
	return paths, nil
}

// removeRun removes what existed for mounts of the layer id, runs are the directories of it, none of which is left in this mount
// namespace. What a copy in another one is using stays, for the next time.
//
// ended says that all mounts of the layer are gone, for sure.
func (t *translator) removeRun(id string, runs []string, ended bool) error {
	// Of a mount of aufs there is most often nothing else.
	errs := []error{t.notes.drop(id)}
	for _, run := range runs {
		used, err := false, error(nil)
		if !ended {
			used, err = t.runInUse(run)
		}
		if err == nil && !used {
			// Nothing is ever mounted in it.
			err = removeOneRun(run)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return layerError("cleaning up after", id, err)
	}
	if runs == nil {
		return nil
	}
	dir := t.home.besideDiff().overlay(runDir, id)
	err := unix.Rmdir(dir)
	if err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EROFS) {
		return layerError("cleaning up after", id, &fs.PathError{Op: "rmdir", Path: dir, Err: err})
	}
	return nil
}

// removeOneRun is os.RemoveAll, which has to find out what is there, for a directory that most often has no more than this.
func removeOneRun(run string) error {
	if err := unix.Unlink(filepath.Join(run, aufsMountID)); err != nil {
		_ = unix.Unlink(filepath.Join(run, plainLowers))
		_ = unix.Rmdir(filepath.Join(run, "work/work"))
		_ = unix.Rmdir(filepath.Join(run, "work"))
	}
	if unix.Rmdir(run) == nil {
		return nil
	}
	return os.RemoveAll(run)
}

// runInUse tells if the mount that run belongs to is alive in any mount namespace. Of an overlay mount with the layer as
// its upper directory it is not asked: the layer itself is.
func (t *translator) runInUse(run string) (bool, error) {
	if used, err := aufsAlive(filepath.Join(run, aufsMountID)); err != nil || used {
		return used, err
	}
	upper := filepath.Join(run, watchUpper)
	if _, err := os.Lstat(upper); err != nil {
		return false, ignoreGone(err)
	}
	return t.inUse(upper, ownForm())
}

// mayBeAlive tells if the overlay mount that run belongs to is alive, or, of a writable one, that it is not known.
func (t *translator) mayBeAlive(run string) (bool, error) {
	if _, err := os.Lstat(filepath.Join(run, watchUpper)); errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return t.runInUse(run)
}

// isPlainLower tells if an overlay mount has the directory of the layer id as a lower one. Overlayfs says nothing about
// those; this driver notes it for each of its mounts.
// marked are the layers that have marks, if that is known.
func (t *translator) isPlainLower(id string, marked markedLayers) (bool, error) {
	if marked.all == nil {
		var err error
		if marked, err = t.marked(); err != nil {
			return false, err
		}
	}
	if lower, err := t.isMarkedLower(id, marked.now); err != nil || lower {
		return lower, err
	}
	layers, err := listDir(t.home.besideDiff().overlay(runDir))
	if err != nil {
		return false, ignoreGone(err)
	}
	for _, layer := range layers {
		runs, err := t.home.runs(layer.Name())
		if err != nil {
			return false, err
		}
		for _, run := range runs {
			content, err := readFile(filepath.Join(run, plainLowers))
			if err = ignoreGone(err); err != nil {
				return false, err
			}
			if !strings.Contains("\n"+string(content), "\n"+id+"\n") {
				continue
			}
			if alive, err := t.mayBeAlive(run); err != nil || alive {
				return alive, err
			}
		}
	}
	return false, nil
}

// isMarkedLower is isPlainLower for those mounts that are noted in a mark. Such a mount is writable, and counts as alive for as
// long as it has one.
func (t *translator) isMarkedLower(id string, marked []string) (bool, error) {
	for _, layer := range marked {
		if layer == id {
			continue
		}
		m, err := readMark(t.home.overlay(markDir, layer))
		if err != nil {
			return false, err
		}
		if !strings.Contains(m.lowers, string(lowerPlain)) {
			continue
		}
		parents, err := t.home.writtenParents(layer)
		if errors.Is(err, graphdriver.ErrLayerUnknown) {
			continue
		}
		if err != nil {
			return false, err
		}
		if i := slices.Index(parents, id); i >= 0 && i < len(m.lowers) && m.lowers[i] == lowerPlain {
			return true, nil
		}
	}
	return false, nil
}
