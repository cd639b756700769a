//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// derived is a cache of directories that are made from layers: for the layer <id>, <dir>/<id>/root/, and <dir>/<id>/stamp,
// which says what it was made from. A layer that needs none has a stamp alone. What has no stamp is not used. The cache
// may be deleted at any time when nothing is mounted.
type derived struct {
	home home
	// area is where dir is, and what is on its way in and out.
	area area
	dir  string
}

const (
	derivedRoot  = "root"
	derivedStamp = "stamp"
)

// derivedVersion begins a stamp. It changes when something else is made of the same layers.
const derivedVersion = "4 "

// The ends of a stamp: does the layer need a directory?
const (
	stampNone = " none"
	stampMade = " made"
)

// twins are the overlay twins of layers.
func (h home) twins() derived {
	a := h.besideDiff()
	return derived{home: h, area: a, dir: a.overlay(twinDir)}
}

// whiteouts are the whiteout branches of layers.
func (h home) whiteouts() derived {
	return derived{home: h, area: h.whole(), dir: filepath.Join(string(h), whiteoutsDir)}
}

func (c derived) path(id string, elem ...string) string {
	return filepath.Join(append([]string{c.dir, id}, elem...)...)
}

// known returns the directory made for the layer id, or "" if it needs none; ok is false if that has to be found out,
// because stamp is not the one of then.
func (c derived) known(id, stamp string) (root string, ok bool) {
	content, err := readFile(c.path(id, derivedStamp))
	switch {
	case err != nil:
		return "", false
	case string(content) == derivedVersion+stamp+stampNone:
		return "", true
	case string(content) == derivedVersion+stamp+stampMade:
		return c.path(id, derivedRoot), true
	}
	return "", false
}

// A recipe makes a directory from a layer.
type recipe struct {
	// needed tells if the layer needs one at all.
	needed func() (bool, error)
	// make makes it at root, or finds that the layer cannot have one, and makes nothing.
	make func(root string) error
	// generation is what use has returned for the layers that it is made from.
	generation string
}

// find makes the directory for the layer id, if it needs one, puts it, with stamp, into the cache, and returns it. It gets no stamp,
// and so is found out again by the next mount, if a layer may have changed since the recipe's generation began. The caller holds the
// lock of id.
func (c derived) find(id, stamp string, r recipe) (string, error) {
	needed, err := r.needed()
	if err != nil {
		return "", err
	}
	if !needed {
		done, err := c.keepNone(id, stamp, r.generation)
		if done || err != nil {
			return "", err
		}
		r.make = func(string) error { return nil }
	}
	s, err := c.home.newScratchOf(c.area, "derived")
	if err != nil {
		return "", err
	}
	root, err := c.findIn(s.dir, id, stamp, r)
	return root, errors.Join(err, s.discard())
}

// keepNone notes that the layer id needs no directory, as most do not, if there is nothing of it in the cache that would be in the
// way. A stamp that a crash has cut short is none.
func (c derived) keepNone(id, stamp, generation string) (done bool, err error) {
	err = os.Mkdir(c.path(id), 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(c.path(id), 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	if realDirectory(c.path(id)) != nil {
		return false, nil
	}
	if _, err := os.Lstat(c.path(id, derivedRoot)); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if !c.home.isCurrent(generation) {
		return true, nil
	}
	err = writeIn(c.path(id), derivedStamp, []byte(derivedVersion+stamp+stampNone))
	if errors.Is(err, unix.ELOOP) {
		return false, nil
	}
	return true, err
}

func (c derived) findIn(scratchDir, id, stamp string, r recipe) (string, error) {
	made := filepath.Join(scratchDir, "new")
	if err := os.Mkdir(made, 0o700); err != nil {
		return "", err
	}
	if err := r.make(filepath.Join(made, derivedRoot)); err != nil {
		return "", err
	}
	root, end := c.path(id, derivedRoot), stampMade
	if _, err := os.Lstat(filepath.Join(made, derivedRoot)); errors.Is(err, fs.ErrNotExist) {
		root, end = "", stampNone
	}
	if c.home.isCurrent(r.generation) {
		if err := os.WriteFile(filepath.Join(made, derivedStamp), []byte(derivedVersion+stamp+end), 0o600); err != nil {
			return "", err
		}
	}
	return root, c.replace(id, made)
}

// replace puts the directory made in the place of the one for the layer id, which goes out of the way: a mount may be
// using it.
func (c derived) replace(id, made string) error {
	for _, dir := range []string{c.dir, c.area.overlay(oldDir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	old, err := os.MkdirTemp(c.area.overlay(oldDir), "derived-")
	if err != nil {
		return err
	}
	err = os.Rename(c.path(id), filepath.Join(old, id))
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Remove(old)
	}
	if err != nil {
		return err
	}
	return os.Rename(made, c.path(id))
}

// forget says that what was made for the layer id is no longer true. The directory stays: a mount may be using it.
func (c derived) forget(id string) error {
	err := unix.Unlink(c.path(id, derivedStamp))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return layerError("dropping what was derived from", id, &fs.PathError{Op: "unlink", Path: c.path(id, derivedStamp), Err: err})
	}
	return nil
}

// rootStamp tells one state of the layer at dir from another, as far as its root directory shows it. That is enough where
// all that changes the layer calls forgetDerived.
func rootStamp(dir string) (string, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	st := statOf(info)
	return fmt.Sprintf("%d %d.%09d %d.%09d", st.Ino, st.Ctim.Sec, st.Ctim.Nsec, st.Mtim.Sec, st.Mtim.Nsec), nil
}

// wasWritable tells if the layer at dir has been a writable branch: aufs then has left its files there. Such a layer may
// have been changed by another driver, deep inside and without a trace: nothing that is derived from it is kept.
func wasWritable(dir string) bool {
	return isThere(filepath.Join(dir, whiteoutBase))
}
