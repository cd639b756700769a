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

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

var (
	errKept    = errors.New("its archive had content that the layer does not show, so the overlay driver could not give the archive back: remove the image, and pull it again later")
	errQuota   = errors.New("the layer has a quota, which cannot move: remove the container")
	errChanged = errors.New("the owners of its files were changed for id maps, and the overlay driver would shift them again: remove the containers with these maps, and the layer")
	errHalf    = errors.New("a change of the owners of its files was cut short: remove the layer")
)

// CheckToOverlay returns an error for each of the layers that cannot move to the overlay driver's home. It leaves out those that have moved.
func (m *Move) CheckToOverlay(layers []Layer) error {
	return checkAll(layers, m.toOverlay, func(l Layer) error {
		parents, err := m.Home.WrittenParents(l.ID)
		if err != nil {
			return err
		}
		if slices.Equal(parents, nil) != (l.Parent == "") || len(parents) > 0 && parents[0] != l.Parent {
			return fmt.Errorf("%w: its parents are %q, and the storage library's record has %q", store.ErrDamaged, parents, l.Parent)
		}
		return errors.Join(m.hasRecords(l.ID), m.hasOverlayForm(l.ID), m.idle(l.ID))
	})
}

// CheckToAufs returns an error for each of the layers that cannot move to this driver's home. It leaves out those that have moved.
func (m *Move) CheckToAufs(layers []Layer) error {
	return checkAll(layers, m.toAufs, func(l Layer) error {
		if err := store.CheckNewID(l.ID); err != nil {
			return err
		}
		return errors.Join(m.isPlain(l.ID), m.overlayIdle(l.ID))
	})
}

func checkAll(layers []Layer, of func(id string) dirs, check func(Layer) error) error {
	var errs []error
	for _, l := range layers {
		moved, err := false, store.CheckID(l.ID)
		if err == nil {
			moved, err = of(l.ID).hasMoved()
		}
		if err == nil && !moved {
			err = check(l)
		}
		if err != nil {
			errs = append(errs, store.LayerError("moving", l.ID, err))
		}
	}
	return errors.Join(errs...)
}

// hasRecords returns an error if this driver has recorded something of the layer id that the overlay driver cannot know.
func (m *Move) hasRecords(id string) error {
	layer := store.Layer{Home: m.Home, ID: id}
	plan, err := owners.Unfinished(m.Home, id)
	if err == nil && plan != nil {
		err = errHalf
	}
	var record *shift.Record
	if err == nil {
		record, err = shift.Read(layer)
	}
	if err == nil && record != nil && record.Kind == shift.Changed && !record.Maps.Empty() {
		err = errChanged
	}
	var quota layerquota.Quota
	if err == nil {
		quota, err = layerquota.Read(m.Home, id)
	}
	if err == nil && quota.Project != 0 {
		err = errQuota
	}
	if err == nil && len(kept.In([]store.Layer{layer})) > 0 {
		err = errKept
	}
	return err
}

// hasOverlayForm returns an error if a mark of the layer id has no overlay form.
func (m *Move) hasOverlayForm(id string) error {
	record, err := m.Home.ReadForm(id)
	if err != nil || record.IsOverlay() {
		return err
	}
	marked, err := whiteout.Search{Root: m.Home.Diff(id)}.Find()
	if err != nil {
		return err
	}
	for _, dir := range marked {
		if len(dir.Beside) > 0 {
			return fmt.Errorf("%s stands beside its own whiteout, which has no form for overlayfs", filepath.Join(m.Home.Diff(id), dir.Rel, dir.Beside[0]))
		}
	}
	return nil
}

// idle returns a *BusyError if the layer id is mounted.
func (m *Move) idle(id string) error {
	used, err := m.forms.Users.Of(id)
	if err != nil {
		return err
	}
	return m.forms.Users.BusyIf(used, id)
}

// overlayIdle returns a *BusyError if the overlay driver's layer id is mounted.
func (m *Move) overlayIdle(id string) error {
	merged := filepath.Join(m.Overlay, id, "merged")
	used, err := mountutil.IsMounted(merged)
	if fsutil.IgnoreGone(err) == nil && !used {
		used, err = m.forms.Users.UpperInUse(m.inOverlay(id), store.OwnForm())
	}
	if err != nil {
		return err
	}
	if used {
		return mountutil.Busy(merged)
	}
	return nil
}

// plainEntries are what the overlay driver keeps of a layer. Other names are for layers that take more than overlayfs: those of composefs and
// of additional layer stores.
var plainEntries = []string{"diff", "link", "lower", "lower-layers", "work", "merged", "empty", "mapped"}

// isPlain returns an error if the overlay driver's layer id is more than a directory of files and marks.
func (m *Move) isPlain(id string) error {
	dir := filepath.Join(m.Overlay, id)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !slices.Contains(plainEntries, entry.Name()) {
			return fmt.Errorf("this driver cannot use a layer that has %s", filepath.Join(dir, entry.Name()))
		}
	}
	return filepath.WalkDir(m.inOverlay(id), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		names, err := fsutil.ListXattrs(path)
		if err != nil {
			return err
		}
		for _, name := range names {
			if isForeign(name) {
				return fmt.Errorf("this driver does not understand the attribute %s of %s", name, path)
			}
		}
		return nil
	})
}

// isForeign reports whether the attribute says that a file is not what it looks like: overlayfs has its content or its name elsewhere
// (metacopy=on, redirect_dir=on), or fuse-overlayfs has its owner and mode elsewhere (force_mask).
func isForeign(name string) bool {
	f := store.OwnForm()
	own, ok := strings.CutPrefix(name, f.XattrPrefix())
	return name == "user.containers.override_stat" || ok && slices.Contains([]string{"metacopy", "redirect", "whiteout", "whiteouts"}, own)
}

// recordShift records the id maps of a container. Without the record, this driver would take the owners of the layers below it for those that
// the container's files have.
func recordShift(h store.Home, l Layer) error {
	if l.Maps == nil {
		return nil
	}
	return shift.Write(h, l.ID, shift.Record{Kind: shift.Shifted, Maps: *l.Maps})
}
