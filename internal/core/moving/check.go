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
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

var (
	errKept   = errors.New("its archive had content that the layer does not show, so the overlay driver could not give the archive back: remove the image, and pull it again after the move")
	errQuota  = errors.New("the layer has a quota, which cannot move: remove the container")
	errMapped = errors.New("the owners of its files were changed for id maps, and the other driver might shift them again: remove the containers with these maps, and the layer")
	errHalf   = errors.New("a change of the owners of its files was cut short: remove the layer")
)

// Check returns an error for each of the layers that cannot move. It leaves out those that have moved.
func (m *Move) Check(layers []Layer) error {
	check := m.canGo
	if m.aufs {
		flag := filepath.Join(m.Overlay, ".has-mount-program")
		if content, err := os.ReadFile(flag); fsutil.IgnoreGone(err) != nil || strings.TrimSpace(string(content)) == "true" {
			return errors.Join(err, fmt.Errorf("%s says that a mount program has written the layers: this driver does not understand all of its marks", flag))
		}
		check = m.canCome
	}
	steps, errs := m.pending(layers)
	for _, s := range steps {
		if err := check(s); err != nil {
			errs = append(errs, store.LayerError("moving", s.ID, err))
		}
	}
	return errors.Join(errs...)
}

// canGo returns an error if the layer cannot move to the overlay driver's home.
func (m *Move) canGo(s step) error {
	return errors.Join(m.hasRecords(s.Layer), m.hasOverlayForm(s.ID), m.idle(s.ID))
}

// canCome returns an error if the layer cannot move to this driver's home.
func (m *Move) canCome(s step) error {
	if err := errors.Join(store.CheckNewID(s.ID), s.hasRightMaps()); err != nil {
		return err
	}
	return errors.Join(m.isPlain(s.ID), m.overlayIdle(s.ID))
}

// hasRightMaps returns an error if this driver cannot have the id maps of the layer.
func (l Layer) hasRightMaps() error {
	if l.Mapped {
		return errMapped
	}
	if l.Maps == nil {
		return nil
	}
	return l.Maps.Check()
}

// hasRecords returns an error if something is recorded of the layer that the overlay driver cannot know.
func (m *Move) hasRecords(l Layer) error {
	layer := store.Layer{Home: m.Home, ID: l.ID}
	plan, err := owners.Unfinished(m.Home, l.ID)
	if err == nil && plan != nil {
		err = errHalf
	}
	var record *shift.Record
	if err == nil {
		record, err = shift.Read(layer)
	}
	if err == nil && (l.Mapped || record != nil && record.Kind == shift.Changed && !record.Maps.Empty()) {
		err = errMapped
	}
	var limited layerquota.Quota
	if err == nil {
		limited, err = layerquota.Read(m.Home, l.ID)
	}
	if err == nil && limited.Project != 0 {
		err = errQuota
	}
	if err == nil && len(kept.In([]store.Layer{layer})) > 0 {
		err = errKept
	}
	return err
}

// hasOverlayForm returns an error if a mark of the layer id cannot get the form of the overlay driver. From the overlay form with other attributes,
// the way is by aufs form.
func (m *Move) hasOverlayForm(id string) error {
	record, err := m.Home.ReadForm(id)
	if err != nil || record.Form == store.OwnForm() {
		return err
	}
	if record.IsOverlay() {
		if err := conversion.MustRead(record.Form); err != nil {
			return err
		}
		return whiteout.MustHaveAufsForm(m.Home.Diff(id), record.Form)
	}
	marked, err := whiteout.Search{Root: m.Home.Diff(id), All: true}.Find()
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

// overlayIdle returns a *BusyError if the overlay driver's layer id is mounted in any mount namespace. It leaves no trace in the layer.
func (m *Move) overlayIdle(id string) error {
	dir := m.inOverlay(id)
	before, err := fsutil.ListXattrs(dir)
	if err != nil {
		return err
	}
	used, err := m.forms.Users.UpperInUse(dir, store.OwnForm())
	if err == nil && used {
		return mountutil.Busy(filepath.Join(m.Overlay, id, "merged"))
	}
	if err == nil && !slices.Contains(before, store.OwnForm().XattrPrefix()+"origin") {
		err = dropOrigin(dir)
	}
	return err
}

// plainEntries are what the overlay driver keeps of a layer. Other names are for layers that take more than overlayfs: those of composefs and
// of additional layer stores, and those whose owners the overlay driver has changed.
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
	if err := isUnlimited(m.inOverlay(id)); err != nil {
		return err
	}
	return filepath.WalkDir(m.inOverlay(id), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		names, err := fsutil.ListXattrs(path)
		if n := slices.IndexFunc(names, isForeign); err == nil && n >= 0 {
			err = fmt.Errorf("this driver does not understand the attribute %s of %s", names[n], path)
		}
		return err
	})
}

// isUnlimited returns an error if the files of dir have a quota.
func isUnlimited(dir string) error {
	var limits quota.Limits
	project, err := quota.Of(dir)
	if err == nil && project != 0 {
		limits, err = project.Limits(dir)
	}
	if err != nil && !quota.NotSupported(err) {
		return err
	}
	if limits != (quota.Limits{}) {
		return errQuota
	}
	return nil
}

// isForeign reports whether the attribute says that a file is not what it looks like: overlayfs has its content or its name elsewhere
// (metacopy=on, redirect_dir=on), fuse-overlayfs has its owner and mode elsewhere (force_mask), or overlayfs was mounted by somebody else, root
// or a user without root, whose marks this process does not see.
func isForeign(name string) bool {
	form, others := store.OwnForm(), whiteout.OverlayUser
	if form == others {
		others = whiteout.OverlayTrusted
	}
	own, ok := strings.CutPrefix(name, form.XattrPrefix())
	return name == "user.containers.override_stat" || others.OwnXattr(name) || ok && slices.Contains([]string{"metacopy", "redirect", "whiteout", "whiteouts"}, own)
}

// recordShift records the id maps of a container. Without the record, this driver would take the owners of the layers below it for those that
// the container's files have.
func recordShift(h store.Home, l Layer) error {
	if l.Maps == nil {
		return nil
	}
	return shift.Write(h, l.ID, shift.Record{Kind: shift.Shifted, Maps: *l.Maps})
}
