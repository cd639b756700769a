//go:build linux

package driver

import (
	"fmt"

	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// A layer that is made to be mounted writable can have a quota: see internal/core/layerquota/quota.go.

// layerLimits returns the limits of a new layer with these options of its own, which replace those of the driver.
func (d *Driver) layerLimits(options map[string]string) (quota.Limits, error) {
	l, err := d.limits.With(options)
	if err == nil {
		err = l.Check(d.home.Diff(""), d.library.FSName)
	}
	return l, err
}

// checkLimits returns an error if the driver's options limit layers, and the host cannot.
func (d *Driver) checkLimits() error {
	var st unix.Statfs_t
	if err := unix.Statfs(d.home.Diff(""), &st); err == nil && st.Flags&unix.ST_RDONLY != 0 {
		// No layer can be made in a read-only store, and a read-only file system does not count what files take.
		return nil
	}
	if err := d.limits.Check(d.home.Diff(""), d.library.FSName); err != nil {
		return fmt.Errorf("%w: %w", store.ErrPrerequisites, err)
	}
	return nil
}
