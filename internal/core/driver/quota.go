//go:build linux

package driver

import "github.com/seed-642172e2/aufs/internal/core/quota"

// A layer that is made to be mounted writable can have a quota: see internal/core/layerquota/quota.go.

// layerLimits returns the limits of a new layer with these options of its own, which replace those of the driver.
func (d *Driver) layerLimits(options map[string]string) (quota.Limits, error) {
	l, err := d.limits.With(options)
	if err == nil {
		err = l.Check(d.Home.Diff(""), d.Library.FSName)
	}
	return l, err
}
