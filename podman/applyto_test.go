//go:build linux

package aufs

import graphdriver "go.podman.io/storage/drivers"

// applyTo is ApplyDiff, to which this version of the storage library does not tell the parent.
func applyTo(d graphdriver.Driver, id, _ string, options graphdriver.ApplyDiffOpts) (size int64, err error) {
	return d.ApplyDiff(id, options)
}
