//go:build linux

package moving

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// A Layer is a layer that moves, as the storage library knows it.
type Layer struct {
	ID string
	// Maps are the id maps of a container whose mounts shift the owners of the layers below it, or nil.
	Maps *idmap.Mappings
	// Mapped says that the files have the owners of id maps because UpdateLayerIDMap has changed them.
	Mapped bool
}

// A Move is from the home of one driver to that of the other, in one graph root.
type Move struct {
	// Home is that of this driver, and Overlay that of the storage library's overlay driver.
	Home    store.Home
	Overlay string
	// Create makes an empty layer in the home that the layers move to. The caller sets it before the move.
	Create func(id, parent string) error
	// Journal is a directory for what has to outlive a move that is cut short. It need not exist, and is empty when the move is done.
	Journal string
	forms   *conversion.Converter
	// direction depends on aufs, which says that layers move to the home of this driver.
	direction
	aufs bool
}

// New returns the move to the home of this driver if aufs is true, and otherwise to that of the overlay driver. runRoot is where the storage
// library counts mounts.
func New(home store.Home, overlay, runRoot, journal string, aufs bool) *Move {
	m := &Move{Home: home, Overlay: overlay, Journal: journal, forms: conversion.New(home, runRoot), aufs: aufs}
	m.direction = direction{from: home.Diff, to: m.inOverlay, ancestors: home.WrittenParents}
	if aufs {
		m.direction = direction{from: m.inOverlay, to: home.Diff, ancestors: m.overlayAncestors}
	}
	return m
}

// A direction says where the files of a layer are, and where they move to. It has the layer's ancestors, nearest first, by the home that layers
// move from. The storage library's record of a layer can name another parent: that of a copy of a template layer is the template's.
type direction struct {
	from, to  func(id string) string
	ancestors func(id string) ([]string, error)
}

// inOverlay returns the directory of a layer's files in the overlay driver's home.
func (m *Move) inOverlay(id string) string { return filepath.Join(m.Overlay, id, "diff") }

// overlayAncestors reads the ancestors of the overlay driver's layer id. The file "lower" has links to their directories.
func (m *Move) overlayAncestors(id string) (ids []string, err error) {
	content, err := os.ReadFile(filepath.Join(m.Overlay, id, "lower"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for link := range strings.SplitSeq(strings.TrimSpace(string(content)), ":") {
		target, err := os.Readlink(filepath.Join(m.Overlay, link))
		if err != nil {
			return nil, err
		}
		ids = append(ids, filepath.Base(filepath.Dir(target)))
	}
	return ids, nil
}

// A step moves one layer.
type step struct {
	Layer
	parent   string
	from, to string
}

// pending returns the steps for the layers that have not moved yet, each after that of its parent. Errors are about single layers.
func (d direction) pending(layers []Layer) (steps []step, errs []error) {
	known, depth := map[string]bool{}, map[string]int{}
	for _, l := range layers {
		known[l.ID] = true
	}
	for _, l := range layers {
		s, ancestors, err := d.stepOf(l)
		if n := slices.IndexFunc(ancestors, func(id string) bool { return !known[id] }); err == nil && n >= 0 {
			err = fmt.Errorf("the store has no record of layer %s below it: layers on top of those of another store cannot move", ancestors[n])
		}
		if err != nil {
			errs = append(errs, store.LayerError("moving", l.ID, err))
		} else if s != nil {
			depth[l.ID] = len(ancestors)
			steps = append(steps, *s)
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return depth[a.ID] - depth[b.ID] })
	return steps, errs
}

// stepOf returns the step for a layer and the layer's ancestors, or nil if the layer has moved.
func (d direction) stepOf(l Layer) (*step, []string, error) {
	if err := store.CheckID(l.ID); err != nil {
		return nil, nil, err
	}
	s := step{Layer: l, from: d.from(l.ID), to: d.to(l.ID)}
	if !store.IsThere(s.from) {
		if !store.IsThere(s.to) {
			return nil, nil, fmt.Errorf("%w: the layer's files are neither in %s nor in %s", store.ErrDamaged, s.from, s.to)
		}
		return nil, nil, nil
	}
	ancestors, err := d.ancestors(l.ID)
	if err == nil && len(ancestors) > 0 {
		s.parent = ancestors[0]
	}
	return &s, ancestors, err
}

// rename moves the files of a layer, durably. s.to must be an empty directory.
func (s step) rename() error {
	// os.Rename refuses to replace a directory.
	if err := unix.Rename(s.from, s.to); err != nil {
		return &os.LinkError{Op: "rename", Old: s.from, New: s.to, Err: err}
	}
	return errors.Join(fsutil.SyncDir(filepath.Dir(s.to)), fsutil.SyncDir(filepath.Dir(s.from)))
}

// each calls do for each of the steps, and stops at the first error.
func each(steps []step, do func(step) error) error {
	for _, s := range steps {
		if err := do(s); err != nil {
			return store.LayerError("moving", s.ID, err)
		}
	}
	return nil
}

// Run moves layers. An earlier call may have been cut short. Nobody may use the store, and all layers must have passed Check. If HasMoved is
// false after an error, the driver from whose home they were to move can go on using the store.
//
// Layers that move to the home of this driver are converted to aufs form. A layer without aufs form stays in overlay form.
func (m *Move) Run(layers []Layer) error {
	steps, errs := m.pending(layers)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if !m.aufs {
		return m.toOverlay(steps)
	}
	if err := m.toAufs(steps); err != nil {
		return err
	}
	for _, l := range layers {
		if err := m.convertBack(l.ID); err != nil {
			return err
		}
	}
	return nil
}

// toOverlay moves layers to the overlay driver's home.
func (m *Move) toOverlay(steps []step) error {
	err := each(steps, func(s step) error { return m.toOverlayForm(s.ID) })
	if err == nil {
		err = m.dropLostLinks()
	}
	if err == nil {
		err = each(steps, m.createInOverlay)
	}
	if err == nil {
		// The overlay driver does not sync what it makes. It is on the same file system as home, or nothing could be renamed.
		err = m.Home.Sync()
	}
	if err == nil {
		err = each(steps, step.rename)
	}
	return err
}

// dropLostLinks removes the links to layers in the overlay driver's home that have another name than the layer's file "link" says: calls that were
// cut short have left them. The overlay driver cannot repair its links if two of them lead to one layer.
func (m *Move) dropLostLinks() error {
	dir := filepath.Join(m.Overlay, "l")
	links, err := os.ReadDir(dir)
	for _, link := range links {
		if link.Type() != fs.ModeSymlink {
			continue
		}
		path := filepath.Join(dir, link.Name())
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		name, err := os.ReadFile(filepath.Join(dir, filepath.Dir(target), "link"))
		if fsutil.IgnoreGone(err) == nil && string(name) != link.Name() {
			err = os.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return fsutil.IgnoreGone(err)
}

// createInOverlay makes the layer in the home of the overlay driver, which removes one that an earlier call has made.
func (m *Move) createInOverlay(s step) error {
	if err := MustBeEmpty(s.to); err != nil {
		return err
	}
	if err := m.dropEmptyName(s.ID); err != nil {
		return err
	}
	return m.Create(s.ID, s.parent)
}

// dropEmptyName removes the file "link" of the layer id if it is empty: the overlay driver was killed, or the power failed, before the link's name
// was in it. To remove such a layer, the driver would remove the directory with the links to all layers.
func (m *Move) dropEmptyName(id string) error {
	path := filepath.Join(m.Overlay, id, "link")
	info, err := os.Lstat(path)
	if err == nil && info.Size() == 0 {
		err = os.Remove(path)
	}
	return fsutil.IgnoreGone(err)
}

// toOverlayForm converts the layer id, unless it is in the form of the overlay driver already. Only a layer whose conversion was begun has times in the
// directory Journal, by which UndoConversions knows it.
func (m *Move) toOverlayForm(id string) error {
	record, err := m.Home.ReadForm(id)
	if err != nil {
		return err
	}
	if record == (store.FormRecord{Form: store.OwnForm()}) && !m.hasTimes(id) {
		return m.convert(id)
	}
	return m.keepingTimes(id, m.convert)
}

// convert converts the layer id to the form of the overlay driver.
func (m *Move) convert(id string) error {
	lock, err := m.Home.LockLayer("moving", id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := m.forms.ToOverlay(id, store.OwnForm(), func() bool { return false }); err != nil {
		return err
	}
	return dropOrigin(m.Home.Diff(id))
}

// dropOrigin removes the attribute by which overlayfs, with index=on, recognizes the layer below. In this driver's home, it comes from trial
// mounts, which have another one. An empty attribute says that the layer has whiteouts, and stays.
func dropOrigin(dir string) error {
	attrs, name := fsutil.PathXattrs(dir), store.OwnForm().XattrPrefix()+"origin"
	origin, err := attrs.Get(name)
	if err != nil || len(origin) == 0 {
		return err
	}
	if err := unix.Lremovexattr(dir, name); err != nil {
		return &fs.PathError{Op: "lremovexattr " + name, Path: dir, Err: err}
	}
	return nil
}

// MustBeEmpty returns an error if the directory has something in it. It may be missing.
func MustBeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s has files already", dir)
	}
	return err
}

// toAufs moves layers to the home of this driver.
func (m *Move) toAufs(steps []step) error {
	err := each(steps, m.createInHome)
	if err == nil {
		err = each(steps, step.rename)
	}
	return err
}

// convertBack converts the layer id, which has moved, to aufs form, if it has one. An earlier call may have done so, and not have put the times back.
func (m *Move) convertBack(id string) error {
	record, err := m.Home.ReadForm(id)
	if err != nil || !record.IsOverlay() && !m.hasTimes(id) {
		return err
	}
	if record.IsOverlay() {
		err = whiteout.MustHaveAufsForm(m.Home.Diff(id), record.Form)
	}
	if errors.Is(err, whiteout.ErrNoAufsForm) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.keepingTimes(id, m.forms.LayerToAufs)
}

// createInHome makes the layer in the home of this driver, unless an earlier call has made it, with the records of a layer that comes from the
// overlay driver.
func (m *Move) createInHome(s step) error {
	if err := MustBeEmpty(s.to); err != nil {
		return err
	}
	if !m.Home.Exists(s.ID) {
		if err := m.Create(s.ID, s.parent); err != nil {
			return err
		}
	}
	if err := m.Home.SetForm(s.ID, store.FormRecord{Form: store.OwnForm()}); err != nil {
		return err
	}
	return recordShift(m.Home, s.Layer)
}

// UndoConversions brings layers back to aufs form whose conversion was cut short, with the times of their directories. Without this, the directory
// Journal must not go. Nobody may use the store.
func (m *Move) UndoConversions(layers []Layer) error {
	for _, l := range layers {
		if !m.hasTimes(l.ID) {
			continue
		}
		if err := m.keepingTimes(l.ID, m.forms.LayerToAufs); err != nil {
			return err
		}
	}
	return nil
}

// Undo removes the layers, which are empty, that a call of Run has made without moving any. remove removes a layer by the driver of the home
// that it is in.
func (m *Move) Undo(layers []Layer, remove func(id string) error) error {
	for _, l := range layers {
		dir := m.to(l.ID)
		if !store.IsThere(dir) {
			continue
		}
		err := MustBeEmpty(dir)
		if err == nil {
			err = remove(l.ID)
		}
		if err != nil {
			return store.LayerError("moving back", l.ID, err)
		}
	}
	return nil
}

// HasMoved reports whether Run has moved any of the layers.
func (m *Move) HasMoved(layers []Layer) bool {
	return slices.ContainsFunc(layers, func(l Layer) bool { return !store.IsThere(m.from(l.ID)) })
}
