//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Of which layers anything may have been derived, or of stacks with which ancestors, is written down before it is, in symbolic links:
//
//	overlay/used/<id>       of this one
//	overlay/forgotten/<id>  the same, and somebody has begun to forget that
//
// A layer that is mounted and put again and again has neither, and each time there is nothing to forget. Whoever derives something
// while it is forgotten sees that another generation has begun, and does not keep it.

// use is called before anything is derived from the layers of a stack, and returns the generation of what may be kept of it. That is
// "" if nothing can be kept, in a store that is read-only, or has no room.
func (h home) use(layers []string) (generation string, err error) {
	generation, err = h.noteUse(layers)
	if hasNoRoom(err) {
		return "", nil
	}
	return generation, err
}

func (h home) noteUse(layers []string) (generation string, err error) {
	if err := os.MkdirAll(h.overlay(forgottenDir), 0o700); err != nil {
		return "", err
	}
	if generation, err = h.newGeneration(); err != nil {
		return "", err
	}
	for _, layer := range layers {
		if err := linkIn(".", h.overlay(usedDir), layer); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	return generation, nil
}

// forgetDerived is for a layer that is about to change, or may just have been: what was made from it is no longer true, nor is what
// was made for layers on top of it. If nothing was, it does nothing.
func (h home) forgetDerived(id string) error {
	for _, path := range []string{h.overlay(usedDir, id), h.overlay(forgottenDir, id)} {
		if _, err := lstatOf(path); !errors.Is(err, fs.ErrNotExist) {
			return h.forgetAll(id)
		}
	}
	return nil
}

// forgetAll is forgetDerived, even if nothing says that there is anything to be forgotten: for a layer that can be written to without a
// mark that keeps others from deriving something meanwhile. Of a layer that has been a writable branch nothing is kept, nor of those on
// top of it.
func (h home) forgetAll(id string) error {
	links, err := h.beginToForget(id)
	if err != nil {
		return layerError("dropping what was derived from", id, err)
	}
	if !wasWritable(h.diff(id)) {
		if err := errors.Join(h.twins().forget(id), h.whiteouts().forget(id), renewTime(h.diff(id), len(links) > 0)); err != nil {
			return err
		}
	}
	for _, path := range links {
		if err := unix.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return layerError("dropping what was derived from", id, &fs.PathError{Op: "unlink", Path: path, Err: err})
		}
	}
	return nil
}

// beginToForget takes the layer id out of those of which something was derived, so that whoever derives something from now on puts it
// there again. At the end the links are to be removed, in this order; until then forgetDerived begins anew. There are none if it was not
// one of those.
func (h home) beginToForget(id string) (links []string, err error) {
	used, forgotten, generation := h.overlay(usedDir, id), h.overlay(forgottenDir, id), h.overlay(generationLink)
	err = unix.Rename(used, forgotten)
	if errors.Is(err, fs.ErrNotExist) && isThere(used) {
		// It is the directory that is not there.
		if err = os.MkdirAll(filepath.Dir(forgotten), 0o700); err == nil {
			err = unix.Rename(used, forgotten)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// There may be one of somebody who was killed.
		if !isThere(forgotten) {
			return nil, nil
		}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		// To be killed right between these can do harm, if somebody derives something just then.
		return []string{generation, used, generation}, nil
	case err != nil:
		return nil, &fs.PathError{Op: "rename", Path: used, Err: err}
	}
	return []string{generation, forgotten}, nil
}

// isThere tells if there is something at path.
func isThere(path string) bool {
	_, err := lstatOf(path)
	return err == nil
}

// longestTick is longer than it takes the clocks of most file systems to go on. Some count whole seconds.
const longestTick = 1100 * time.Millisecond

// renewTime gives the directory of a layer, and by that all stamps with it, a new time. With wait, it waits until the clock of the file
// system has one.
func renewTime(dir string, wait bool) error {
	before, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	for begin := time.Now(); time.Since(begin) < longestTick; time.Sleep(time.Millisecond) {
		// A change of mode that changes nothing.
		if err := unix.Chmod(dir, statOf(before).Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: dir, Err: err}
		}
		if !wait {
			return nil
		}
		if after, err := os.Lstat(dir); err != nil || statOf(after).Ctim != statOf(before).Ctim {
			return err
		}
	}
	return nil
}
