//go:build linux

package aufs

import (
	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

// Create makes an empty layer on top of parent, or with none if that is "". It appears whole or not at all: after a
// failure nothing of it is left, and after a crash the next Init removes what is.
//
// Its root directory has the owner and mode of the parent's or, without a parent, mode 0555 and the owner to whom
// opts.IDMappings maps root. The error matches graphdriver.ErrLayerUnknown if there is no such parent, and fs.ErrExist
// if there is such a layer.
func (d *Driver) Create(id, parent string, opts *graphdriver.CreateOpts) error {
	return ofLibrary(d.core.Create(id, parent, createOptions(opts)))
}

// CreateReadWrite is Create for a layer that is going to be mounted writable: with the overlay backend it is in overlay form at once, so that its
// first mount need not wait for the disk.
func (d *Driver) CreateReadWrite(id, parent string, opts *graphdriver.CreateOpts) error {
	return ofLibrary(d.core.CreateReadWrite(id, parent, createOptions(opts)))
}

func createOptions(opts *graphdriver.CreateOpts) *driver.CreateOptions {
	if opts == nil {
		return nil
	}
	return &driver.CreateOptions{StorageOpt: opts.StorageOpt, IDMappings: storagelib.Mappings(opts.IDMappings)}
}

// CreateFromTemplate makes a layer with the content of the layer template. It is a child of it, as with the overlay
// driver, so that it takes neither time nor space; parent, which would be the template's, is not needed.
func (d *Driver) CreateFromTemplate(id, template string, _ *idtools.IDMappings, _ string, _ *idtools.IDMappings, opts *graphdriver.CreateOpts, readWrite bool) error {
	return ofLibrary(d.core.CreateFromTemplate(id, template, createOptions(opts), readWrite))
}

// Remove unmounts the layer, whoever uses it, and removes it with all its files. A layer whose mount stays busy keeps all
// its data, and the error says what to look for. A copy of the mount in another mount namespace does not keep it: that
// would be forever. An id that is not there is no error.
func (d *Driver) Remove(id string) error { return ofLibrary(d.core.Remove(id)) }

// Metadata returns where the layer's files are: UpperDir, its own directory; LowerDir, those of its ancestors, nearest
// first, with colons between them, if it has any; MergedDir, where Get shows it: one without ancestors has that at mnt/<id> while it is
// mounted.
func (d *Driver) Metadata(id string) (map[string]string, error) {
	metadata, err := d.core.Metadata(id)
	return metadata, ofLibrary(err)
}

// Exists tells if the layer id is in the store.
func (d *Driver) Exists(id string) bool { return d.core.Exists(id) }

// ListLayers returns the ids of the layers in the store.
func (d *Driver) ListLayers() ([]string, error) {
	ids, err := d.core.ListLayers()
	return ids, ofLibrary(err)
}
