//go:build linux

package library

import graphdriver "github.com/containers/storage/drivers"

// ApplyTo is ApplyDiff. Not every version of the storage library passes the
// parent to it.
func ApplyTo(d graphdriver.Driver, id, parent string, options graphdriver.ApplyDiffOpts) (size int64, err error) {
	return d.ApplyDiff(id, parent, options)
}
