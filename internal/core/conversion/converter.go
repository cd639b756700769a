//go:build linux

package conversion

import (
	"errors"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
)

// A Converter converts layers from one form to the other. It changes no layer that a mount is using.
type Converter struct {
	home  store.Home
	Users *inuse.Probe
}

// New returns a converter of the layers of the store at h. runRoot is where the storage library counts mounts, or "".
func New(h store.Home, runRoot string) *Converter {
	return &Converter{home: h, Users: inuse.NewProbe(h, runRoot)}
}

// ToAufs converts the layer id to aufs form, if it is in another form. The caller holds the lock of id.
func (c *Converter) ToAufs(id string) error {
	r, err := c.home.ReadForm(id)
	if err != nil || !r.IsOverlay() {
		return err
	}
	if !r.Converting && c.isUnused(id) {
		return c.home.UnsetForm(id)
	}
	if err := c.toAufsFrom(id, r); err != nil {
		return store.LayerError("converting", id, err)
	}
	return nil
}

// LayerToAufs is ToAufs for a caller that does not hold the lock of id. A layer that is not in the store is no error.
func (c *Converter) LayerToAufs(id string) error {
	if !c.home.Exists(id) {
		return nil
	}
	lock, err := c.home.LockLayer("converting", id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return c.ToAufs(id)
}

// isUnused reports whether the layer id is as CreateReadWrite makes it: empty, and never mounted.
func (c *Converter) isUnused(id string) bool {
	if store.IsThere(c.home.BesideDiff().Overlay(store.WorkDir, id)) {
		return false
	}
	entries, err := os.ReadDir(c.home.Diff(id))
	return err == nil && len(entries) == 0
}

func (c *Converter) toAufsFrom(id string, r store.FormRecord) error {
	if err := MustRead(r.Form); err != nil {
		return err
	}
	if err := c.Users.Idle(id); err != nil {
		return err
	}
	err := whiteout.MustHaveAufsForm(c.home.Diff(id), r.Form)
	if err == nil && !r.Converting {
		if err := c.begin(id, r.Form, r); err != nil {
			return err
		}
		r.Converting = true
	}
	if err == nil {
		err = layerquota.WithRoom(c.home, id, func() error { return whiteout.ToAufsForm(c.home.Diff(id), r.Form) })
	}
	if err != nil {
		if r.Converting {
			err = errors.Join(err, c.finishOverlay(id, r.Form))
		}
		return err
	}
	// Do not change the record before the layer is on the disk in its new form.
	if err := c.home.Sync(); err != nil {
		return err
	}
	if err := c.home.Invalidate(id); err != nil {
		return err
	}
	return c.setAufsForm(id)
}

// setAufsForm durably records that the layer id is in aufs form.
func (c *Converter) setAufsForm(id string) error {
	alone, err := c.home.IsBase(id)
	if err != nil {
		return err
	}
	if !alone {
		return c.home.UnsetForm(id)
	}
	// Somebody may have been given the layer's directory, and may still write to it.
	return c.home.SetForm(id, store.FormRecord{Form: whiteout.AufsForm})
}

// MustRead returns an error if this process cannot read the marks of a layer in form f.
func MustRead(f whiteout.Form) error {
	if f != whiteout.OverlayTrusted {
		return nil
	}
	nested, err := mountutil.InUserNamespace()
	if err == nil && nested {
		err = errors.New("the layer was mounted outside of this user namespace, in which the whiteouts of the layer cannot be read; root has to convert the layer")
	}
	return err
}

// ToOverlay converts the layer id to the overlay form f. The caller holds the lock of id. For a layer in aufs form, unmarked reports
// whether the layer is known to have no marks.
func (c *Converter) ToOverlay(id string, f whiteout.Form, unmarked func() bool) error {
	r, err := c.home.ReadForm(id)
	if err != nil || r == (store.FormRecord{Form: f}) {
		return err
	}
	if r.IsOverlay() && r.Form != f {
		if err := c.ToAufs(id); err != nil {
			return err
		}
		r = store.FormRecord{}
	}
	if err := c.toOverlayFrom(id, r, f, unmarked); err != nil {
		return store.LayerError("converting", id, err)
	}
	return nil
}

func (c *Converter) toOverlayFrom(id string, r store.FormRecord, f whiteout.Form, unmarked func() bool) error {
	// Ask only about aufs mounts: no overlay mount writes to a layer in aufs form.
	if used, err := c.Users.AufsUses(id); err != nil || used {
		return errors.Join(err, c.Users.BusyIf(used, id))
	}
	if !r.Converting {
		marked, err := []whiteout.MarkedDir(nil), error(nil)
		if !unmarked() {
			marked, err = whiteout.Search{Root: c.home.Diff(id), All: true}.Find()
		}
		if err != nil {
			return err
		}
		if err := c.home.Invalidate(id); err != nil {
			return err
		}
		if len(marked) == 0 {
			return c.home.SetForm(id, store.FormRecord{Form: f})
		}
		if err := c.Users.Idle(id); err != nil {
			return err
		}
		if err := c.begin(id, f, r); err != nil {
			return err
		}
	}
	return c.finishOverlay(id, f)
}

// finishOverlay converts the layer id, whose record says that a conversion has begun, to the overlay form f.
func (c *Converter) finishOverlay(id string, f whiteout.Form) error {
	marked, err := whiteout.Search{Root: c.home.Diff(id), Devices: true, All: true}.Find()
	if err == nil {
		err = layerquota.WithRoom(c.home, id, func() error { return whiteout.ToOverlayForm(c.home.Diff(id), marked, f) })
	}
	if err == nil {
		err = c.home.Sync()
	}
	if err != nil {
		return err
	}
	return c.home.SetForm(id, store.FormRecord{Form: f})
}

// Finish prepares the layer id for a mount, between shadows, by a backend that reads marks in the form to. If a conversion of the layer has
// begun, Finish completes it. If to and the layer's form are overlay forms with different attributes, Finish converts the layer to aufs
// form. The caller holds the lock of id.
func (c *Converter) Finish(id string, to whiteout.Form) error {
	r, err := c.home.ReadForm(id)
	other := r.IsOverlay() && to != whiteout.AufsForm && r.Form != to
	if err != nil || !r.Converting && !other {
		return err
	}
	if other {
		return c.ToAufs(id)
	}
	if to == whiteout.AufsForm {
		if err = c.ToAufs(id); err == nil {
			return nil
		}
		if r, rerr := c.home.ReadForm(id); rerr == nil && !r.Converting {
			logrus.Debugf("%v", err)
			return nil
		}
		return err
	}
	if err = MustRead(r.Form); err == nil {
		err = c.finishOverlay(id, r.Form)
	}
	if err != nil {
		return store.LayerError("converting", id, err)
	}
	return nil
}

// begin records that a conversion of the layer id, to or from the overlay form f, has begun. r is the record until now. Then begin checks
// again that the layer is not in use. This check finds every mount that was made before the record. Whoever mounts the layer later sees the
// record (see mountStack in internal/core/driver/mount_linux.go).
func (c *Converter) begin(id string, f whiteout.Form, r store.FormRecord) error {
	if err := c.home.SetForm(id, store.FormRecord{Form: f, Converting: true}); err != nil {
		return err
	}
	err := c.Users.Idle(id)
	if err != nil && r.Form == "" {
		return errors.Join(err, c.home.UnsetForm(id))
	}
	if err != nil {
		return errors.Join(err, c.home.SetForm(id, r))
	}
	return nil
}
