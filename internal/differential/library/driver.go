//go:build linux

// Package library lets package differential compare drivers of the storage
// library.
package library

import (
	"io"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/differential"
)

// Driver returns the driver d as a differential.Driver.
func Driver(d graphdriver.Driver) differential.Driver { return driver{d} }

type driver struct{ graphdriver.Driver }

// Create implements differential.Driver.
func (d driver) Create(id, parent string) error { return d.Driver.Create(id, parent, nil) }

// CreateReadWrite implements differential.Driver.
func (d driver) CreateReadWrite(id, parent string) error {
	return d.Driver.CreateReadWrite(id, parent, nil)
}

// Get implements differential.Driver.
func (d driver) Get(id string) (string, error) { return d.Driver.Get(id, graphdriver.MountOpts{}) }

// Diff implements differential.Driver.
func (d driver) Diff(id, parent string) (io.ReadCloser, error) {
	return d.Driver.Diff(id, nil, parent, nil, "")
}

// ApplyDiff implements differential.Driver.
func (d driver) ApplyDiff(id, parent string, diff io.Reader) error {
	_, err := ApplyTo(d.Driver, id, parent, graphdriver.ApplyDiffOpts{Diff: diff})
	return err
}

// Changes implements differential.Driver.
func (d driver) Changes(id, parent string) ([]differential.Change, error) {
	changes, err := d.Driver.Changes(id, nil, parent, nil, "")
	if err != nil {
		return nil, err
	}
	same := make([]differential.Change, len(changes))
	for i, c := range changes {
		// The library uses the same letters for kinds.
		same[i] = differential.Change{Path: c.Path, Kind: differential.Kind(c.Kind.String())}
	}
	return same, nil
}
