//go:build linux

package aufs

import (
	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

// Create makes an empty layer on top of parent, or one without a parent if parent is "". The layer appears whole or not
// at all: after an error nothing of it is left, and after a crash the next Init removes the remains.
//
// The layer's root directory gets the owner and mode of the parent's root directory. Without a parent, it gets the mode
// 0555, and the owner to which opts.IDMappings maps root. The error matches graphdriver.ErrLayerUnknown if the parent
// does not exist, and fs.ErrExist if the layer exists already.
func (d *Driver) Create(id, parent string, opts *graphdriver.CreateOpts) error {
	return ofLibrary(d.core.Create(id, parent, createOptions(opts)))
}

// CreateReadWrite is Create for a layer that is going to be mounted writable. With the overlay backend, a layer with a
// parent is in overlay form from the start. So its first mount need not wait until a record of the form is on disk.
func (d *Driver) CreateReadWrite(id, parent string, opts *graphdriver.CreateOpts) error {
	return ofLibrary(d.core.CreateReadWrite(id, parent, createOptions(opts)))
}

func createOptions(opts *graphdriver.CreateOpts) *driver.CreateOptions {
	if opts == nil {
		return nil
	}
	return &driver.CreateOptions{StorageOpt: opts.StorageOpt, IDMappings: storagelib.Mappings(opts.IDMappings)}
}

// CreateFromTemplate makes a layer with the content of the layer template. The new layer is a child of template, as
// with the overlay driver, so that making it takes neither time nor space. The fourth argument, template's parent, is
// not needed.
func (d *Driver) CreateFromTemplate(id, template string, _ *idtools.IDMappings, _ string, _ *idtools.IDMappings, opts *graphdriver.CreateOpts, readWrite bool) error {
	return ofLibrary(d.core.CreateFromTemplate(id, template, createOptions(opts), readWrite))
}

// Remove unmounts the layer, even if callers of Get have not called Put, and removes it with all its files. If the
// mount stays busy, the layer keeps all its data, and the error says what to look for. A copy of the mount in another
// mount namespace does not prevent the removal, because such a copy might stay forever. It is no error if the layer
// does not exist. A layer that only an additional image store has stays as it is, and that is no error either: the
// library calls Remove after a failed Create, and cannot open its store if that fails.
func (d *Driver) Remove(id string) error { return ofLibrary(d.core.Remove(id)) }

// Metadata returns where the layer's files are. UpperDir is the layer's own directory. LowerDir lists its ancestors'
// directories, nearest first, separated by colons; a layer without ancestors has no LowerDir. MergedDir is where Get
// shows the layer. A layer without ancestors is shown at mnt/<id> while it is mounted, and at its own directory
// otherwise. A layer of an additional image store is always shown at its mount point.
func (d *Driver) Metadata(id string) (map[string]string, error) {
	metadata, err := d.core.Metadata(id)
	return metadata, ofLibrary(err)
}

// Exists reports whether the layer id is in the store or in an additional image store.
func (d *Driver) Exists(id string) bool { return d.core.Exists(id) }

// ListLayers returns the ids of the layers in the store, without those of additional image stores.
func (d *Driver) ListLayers() ([]string, error) {
	ids, err := d.core.ListLayers()
	return ids, ofLibrary(err)
}
