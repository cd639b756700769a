//go:build linux

// Package library is that of the module above, but for this file.
package library

import graphdriver "go.podman.io/storage/drivers"

// ApplyTo is ApplyDiff, to which this version of the storage library does not tell the parent.
func ApplyTo(d graphdriver.Driver, id, _ string, options graphdriver.ApplyDiffOpts) (size int64, err error) {
	return d.ApplyDiff(id, options)
}
