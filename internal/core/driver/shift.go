//go:build linux

package driver

import (
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// OpenShifting prepares to find out whether mounts can shift owners.
func (d *Driver) OpenShifting(name backend.Name) *backend.Shifting {
	probe := func(scratchDir string) (backend.Backend, error) {
		return backend.ProbeOverlay(shadow.New(d.Stores, d.Forms, store.OwnForm(), d.runRoot), scratchDir, d.Library.FSName)
	}
	return backend.NewShifting(d.Backend, name, func() (backend.Backend, error) { return d.probeIn(probe) }, d.Library.UserNamespace)
}

// SupportsShifting reports whether a mount can give layers the owners that the maps say. If maps has no ranges, it reports whether mounts can
// shift owners at all.
func (d *Driver) SupportsShifting(maps *idmap.Mappings) bool {
	return d.Shifting.Supports(orNone(maps))
}

// OnDisk returns the mappings between the owners of the layer id on the disk and those in the container. given are what the library knows.
func (d *Driver) OnDisk(id string, given *idmap.Mappings) (*idmap.Mappings, error) {
	return shift.OnDisk(d.Stores, id, orNone(given))
}
