//go:build linux

package moving

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// A Layer is a layer that moves.
type Layer struct {
	// Parent is the id of the layer below, or "".
	ID, Parent string
	// Maps are the id maps of a container whose mounts shift the owners of the layers below it, or nil.
	Maps *idmap.Mappings
}

// A Move is between the homes of two drivers in one graph root.
type Move struct {
	// Home is that of this driver, and Overlay that of the storage library's overlay driver.
	Home    store.Home
	Overlay string
	// Create makes an empty layer in the home that the layers move to. The caller sets it before the move.
	Create func(id, parent string) error
	forms  *conversion.Converter
}

// New returns the move between two homes. runRoot is where the storage library counts mounts.
func New(home store.Home, overlay, runRoot string) *Move {
	return &Move{Home: home, Overlay: overlay, forms: conversion.New(home, runRoot)}
}

// dirs are the directories of a layer's files: in the home that it moves from, and in the other one.
type dirs struct{ from, to string }

// inOverlay returns the directory of a layer's files in the overlay driver's home.
func (m *Move) inOverlay(id string) string { return filepath.Join(m.Overlay, id, "diff") }

func (m *Move) toOverlay(id string) dirs { return dirs{from: m.Home.Diff(id), to: m.inOverlay(id)} }

func (m *Move) toAufs(id string) dirs { return dirs{from: m.inOverlay(id), to: m.Home.Diff(id)} }

// hasMoved reports whether an earlier call has moved the layer.
func (d dirs) hasMoved() (bool, error) {
	if store.IsThere(d.from) {
		return false, nil
	}
	if !store.IsThere(d.to) {
		return false, fmt.Errorf("%w: the layer's files are neither in %s nor in %s", store.ErrDamaged, d.from, d.to)
	}
	return true, nil
}

// rename moves the files of a layer, durably. d.to is an empty directory.
func (d dirs) rename() error {
	// os.Rename refuses to replace a directory.
	if err := unix.Rename(d.from, d.to); err != nil {
		return &os.LinkError{Op: "rename", Old: d.from, New: d.to, Err: err}
	}
	return errors.Join(fsutil.SyncDir(filepath.Dir(d.to)), fsutil.SyncDir(filepath.Dir(d.from)))
}

// pending returns the layers that have not moved yet.
func pending(layers []Layer, of func(id string) dirs) (left []Layer, err error) {
	for _, l := range layers {
		moved, err := of(l.ID).hasMoved()
		if err != nil {
			return nil, store.LayerError("moving", l.ID, err)
		}
		if !moved {
			left = append(left, l)
		}
	}
	return left, nil
}

// ToOverlay moves layers to the overlay driver's home. The layers are in an order in which each comes after its parent. An earlier call may have
// been cut short. Nothing may be mounted, and all layers must have passed CheckToOverlay.
func (m *Move) ToOverlay(layers []Layer) error {
	left, err := pending(layers, m.toOverlay)
	if err != nil {
		return err
	}
	// Up to here, this driver can go on using the store.
	for _, l := range left {
		if err := m.convert(l.ID); err != nil {
			return err
		}
	}
	for _, l := range left {
		if err := m.Create(l.ID, l.Parent); err != nil {
			return store.LayerError("moving", l.ID, err)
		}
	}
	// The overlay driver does not sync what it makes.
	if err := syncFS(m.Overlay); err != nil {
		return store.OpError("moving the layers to "+m.Overlay, err)
	}
	for _, l := range left {
		if err := m.toOverlay(l.ID).rename(); err != nil {
			return store.LayerError("moving", l.ID, err)
		}
	}
	return nil
}

// convert converts the layer id to the form of the overlay driver.
func (m *Move) convert(id string) error {
	lock, err := m.Home.LockLayer("moving", id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return m.forms.ToOverlay(id, store.OwnForm(), func() bool { return false })
}

// ToAufs moves layers to the home of this driver, as ToOverlay does in the other direction. They stay in overlay form, which a conversion of the
// store changes.
func (m *Move) ToAufs(layers []Layer) error {
	left, err := pending(layers, m.toAufs)
	if err != nil {
		return err
	}
	for _, l := range left {
		if err := m.createInHome(l); err != nil {
			return store.LayerError("moving", l.ID, err)
		}
		if err := m.toAufs(l.ID).rename(); err != nil {
			return store.LayerError("moving", l.ID, err)
		}
	}
	return nil
}

// createInHome makes the layer in the home of this driver, unless an earlier call has made it, with the records of a layer that comes from the
// overlay driver.
func (m *Move) createInHome(l Layer) error {
	if !m.Home.Exists(l.ID) {
		if err := m.Create(l.ID, l.Parent); err != nil {
			return err
		}
	}
	if err := m.Home.SetForm(l.ID, store.FormRecord{Form: store.OwnForm()}); err != nil {
		return err
	}
	return recordShift(m.Home, l)
}

// syncFS syncs the file system that dir is on.
func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return fsutil.SyncFS(int(f.Fd()), dir)
}

// Unbind unmounts the mounts of the two homes onto themselves, which the drivers make: no file can be renamed from one mount to another. Any
// other mount there is an error.
func (m *Move) Unbind() error {
	for _, dir := range []string{m.Home.Mnt(""), m.Home.Diff(""), string(m.Home), m.Overlay} {
		mounted, err := mountutil.IsMounted(dir)
		if fsutil.IgnoreGone(err) == nil && !mounted {
			continue
		}
		var own bool
		if err == nil {
			own, err = store.IsSelfBind(dir)
		}
		if err == nil && !own {
			err = errors.New("layers cannot move from one mount to another: unmount it, and put all layers on one file system")
		}
		if err == nil {
			err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		}
		if err != nil {
			return store.OpError("moving layers past the mount "+dir, err)
		}
	}
	return nil
}
