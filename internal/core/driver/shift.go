//go:build linux

package driver

import (
	"fmt"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// A mounter is a backend with the shadows that it needs.
type mounter struct {
	backend.Backend
	shadows *shadow.Cache
}

// mounterFor returns the mounter for a mount with this plan.
func (d *Driver) mounterFor(plan *shift.Plan) (mounter, error) {
	if !plan.ShiftsAny() {
		return mounter{d.backend, d.shadows}, nil
	}
	b, err := d.shifting.Backend()
	if err != nil {
		return mounter{}, err
	}
	return mounter{b, b.Shadows()}, nil
}

// openShifting prepares to find out whether mounts can shift owners. With the aufs backend, overlayfs does that if the option backend=auto
// permits overlayfs.
func (d *Driver) openShifting(name backend.Name) *backend.Shifting {
	return backend.NewShifting(func() (*backend.OverlayBackend, error) {
		if b, ok := d.backend.(*backend.OverlayBackend); ok {
			return b, nil
		}
		if name == backend.Aufs {
			return nil, fmt.Errorf("aufs cannot do that, and the option backend=aufs rules out overlayfs: %w", store.ErrNotSupported)
		}
		var b *backend.OverlayBackend
		_, err := d.probeIn(func(scratchDir string) (_ backend.Backend, err error) {
			b, err = backend.ProbeOverlay(shadow.New(d.stores, d.forms, store.OwnForm(), d.runRoot), scratchDir, d.library.FSName)
			return b, err
		})
		return b, err
	}, d.library.UserNamespace)
}

// SupportsShifting reports whether a mount can show layers with the owners that the maps say, without a change of the owners on the disk. Nil,
// or maps without ranges, ask whether it can be done at all.
func (d *Driver) SupportsShifting(maps *idmap.Mappings) bool {
	if maps != nil && !maps.Empty() && maps.Check() != nil {
		return false
	}
	_, err := d.shifting.Backend()
	return err == nil
}

// OnDisk returns the mappings between the owners of the layer id on the disk and those in the container. given are what the library knows.
func (d *Driver) OnDisk(id string, given *idmap.Mappings) (*idmap.Mappings, error) {
	m, err := shift.OnDisk(d.stores, id, orNone(given))
	if err != nil {
		return nil, store.LayerError("reading the owners of", id, err)
	}
	return m, nil
}

// onDisk is OnDisk for a layer and its parent.
func (d *Driver) onDisk(id string, given *idmap.Mappings, parent string, parentGiven *idmap.Mappings) (ids, parentIDs *idmap.Mappings, err error) {
	if ids, err = d.OnDisk(id, given); err == nil {
		parentIDs, err = d.OnDisk(parent, parentGiven)
	}
	return ids, parentIDs, err
}
