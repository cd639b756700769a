//go:build linux

package maintenance

import (
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// records checks the records of the layer id besides its form.
func (c *checker) records(id string) {
	if _, err := shift.Read(c.stores.Own(id)); err != nil {
		c.add(Foreign, id, c.home.Overlay(store.IDsDir, id), "%v", err)
	}
	if _, err := layerquota.Read(c.home, id); err != nil {
		c.add(Foreign, id, c.home.Overlay(store.QuotaDir, id), "%v", err)
	}
	if _, err := owners.Unfinished(c.home, id); err != nil {
		c.add(Foreign, id, c.home.Overlay(store.OwnersDir, id), "%v", err)
	}
}
