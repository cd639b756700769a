//go:build linux

package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// Home has directories for each additional image store that it was ever used with. KEY is made from the path of the image store:
//
//	overlay/images/KEY/store           a symbolic link to the home of the image store
//	overlay/images/KEY/lock/<id>       carries the lock of the layer
//	overlay/images/KEY/known/FORM/<id>, overlay/images/KEY/shadow/<id>/
//	                                   what is in overlay/known/FORM and overlay/shadow for layers of home
//	mnt/aufs-removing/KEY/<id>/        the mount point of the layer
//
// They are apart from those of home's own layers: otherwise the sweep would take them for those of a removed layer. And the same id can be in
// both stores. Nothing else of a layer in an image store needs a place in home. Nobody converts or removes such a layer, so that no probe has to
// find its mounts.

// imageLink is the name of the link to the home of an image store.
const imageLink = "store"

// image returns the path of elem in the directory of the image store image.
func (a Area) image(image Home, elem ...string) string {
	return a.Overlay(append([]string{ImagesDir, image.key()}, elem...)...)
}

// Mnt returns the mount point of the layer.
func (s Stores) Mnt(l Layer) string {
	if s.IsOwn(l) {
		return s.Home.Mnt(l.ID)
	}
	return filepath.Join(s.Home.Mnt(BesideName), l.Home.key(), l.ID)
}

// Known returns the directory of what is known of the layers in h, for mounts that read the form f.
func (s Stores) Known(h Home, f whiteout.Form) string {
	if h == s.Home {
		return h.Overlay(KnownDir, string(f))
	}
	return s.Home.whole().image(h, KnownDir, string(f))
}

// Shadows returns the directory of the shadows of the layers in h.
func (s Stores) Shadows(h Home) string {
	if h == s.Home {
		return h.BesideDiff().Overlay(ShadowDir)
	}
	return s.Home.BesideDiff().image(h, ShadowDir)
}

// Lock waits for the lock of the layer.
func (s Stores) Lock(l Layer) (*fsutil.Lock, error) {
	if s.IsOwn(l) {
		return s.Home.LockID(l.ID)
	}
	// If home has no room for the file, nothing is locked: a lock in the image store would keep its owner waiting.
	return s.Home.FlockFile(s.Home.whole().image(l.Home, LockDirName, l.ID), "", unix.LOCK_EX)
}

// LockLayerAnd takes the lock of the layer id, and calls read with the layer. For a layer of home, it is Home.LockLayerAnd.
func (s Stores) LockLayerAnd(op, id string, read func(Layer) error) (*fsutil.Lock, error) {
	if err := CheckID(id); err != nil {
		return nil, LayerError(op, id, err)
	}
	l := s.Find(id, s.Home)
	if s.IsOwn(l) {
		return s.Home.LockLayerAnd(op, l.ID, func() error { return read(l) })
	}
	lock, err := s.Lock(l)
	if err != nil {
		return nil, LayerError(op, l.ID, err)
	}
	err = s.mustBeWhole(l)
	if err == nil {
		err = fsutil.RealDirectory(l.Dir())
	}
	if err == nil {
		err = read(l)
	}
	if err != nil {
		lock.Unlock()
		return nil, LayerError(op, l.ID, err)
	}
	return lock, nil
}

// RecordImages makes the links that WithRecorded reads. If home has no room for them, that is no error.
func (s Stores) RecordImages() error {
	for _, image := range s.Images {
		err := s.recordImage(image)
		if err != nil && !HasNoRoom(err) {
			return err
		}
	}
	return nil
}

func (s Stores) recordImage(image Home) error {
	dir := s.Home.whole().image(image)
	link := filepath.Join(dir, imageLink)
	err := LinkIn(string(image), dir, imageLink)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if recorded, err := os.Readlink(link); err == nil && recorded == string(image) {
		return nil
	}
	return s.Home.ReplaceLink(string(image), link)
}

// WithRecorded returns h with the image stores that it was ever used with, as far as they still exist.
func (h Home) WithRecorded() (Stores, error) {
	s := Stores{Home: h}
	entries, err := os.ReadDir(h.Overlay(ImagesDir))
	for _, entry := range entries {
		target, err := os.Readlink(h.Overlay(ImagesDir, entry.Name(), imageLink))
		if err != nil {
			continue
		}
		if image, err := ImageStore(filepath.Dir(target)); err == nil && string(image) == target {
			s.Images = append(s.Images, image)
		}
	}
	return s, fsutil.IgnoreGone(err)
}
