//go:build linux

package aufs

import (
	"io"

	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// isParent tells if parent is the direct parent of the layer id: "" is that of a layer without one.
func (d *Driver) isParent(id, parent string) (bool, error) {
	parents, err := d.home.parents(id)
	if err != nil {
		return false, err
	}
	if parent == "" {
		return len(parents) == 0, nil
	}
	return len(parents) > 0 && parents[0] == parent, nil
}

// orNone is the mapping that leaves ids as they are, for none given.
func orNone(m *idtools.IDMappings) *idtools.IDMappings {
	if m == nil {
		return &idtools.IDMappings{}
	}
	return m
}

// Diff returns a tar archive, uncompressed, of what makes the layer out of parent. Deletions and opaque directories are in
// it as OCI's layers have them, in names that begin with .wh.; owners are as idMappings has them in the container.
//
// Against its own parent the layer is not mounted; against any other, both are, for as long as the archive is open. Until
// it is closed the layer should be neither mounted nor unmounted: the storage library's Store holds its lock for that.
func (d *Driver) Diff(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) (io.ReadCloser, error) {
	direct, err := d.isParent(id, parent)
	if err != nil {
		return nil, err
	}
	if !direct {
		return d.naive.Diff(id, idMappings, parent, parentMappings, mountLabel)
	}
	f, mounted, err := d.readable(id)
	if err != nil {
		return nil, layerError("reading", id, err)
	}
	only, err := d.changedPaths(id, f, orNone(idMappings), orNone(parentMappings))
	if err != nil {
		return nil, layerError("comparing", id, err)
	}
	held, err := d.home.hold(id)
	if err != nil {
		return nil, layerError("reading", id, err)
	}
	// A layer without parents is used without a mount.
	quiet := !mounted && parent != ""
	return archiveLayer(held, f, orNone(idMappings), only, quiet), nil
}

// readable makes the layer's own directory show all that the layer is, as far as that can be had without mounting it, and
// returns the form that it is in.
func (d *Driver) readable(id string) (f whiteout.Form, mounted bool, err error) {
	lock, err := d.home.lockLayer("reading", id)
	if err != nil {
		return "", false, err
	}
	defer lock.Unlock()
	target := d.home.mnt(id)
	if mounted, err = mountutil.IsMounted(target); err != nil {
		return "", false, err
	}
	if mounted {
		if _, err := d.flush(id, target, aufsfs.LinkFlush.Live); err != nil {
			return "", false, err
		}
	}
	f, err = d.home.form(id)
	return f, mounted, err
}

// DiffSize returns how many bytes are in the files that make the layer out of parent. Against its own parent that is what
// ReadWriteDiskUsage says, but for files that UpdateLayerIDMap has put there; against any other, both are mounted and compared.
func (d *Driver) DiffSize(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) (int64, error) {
	direct, err := d.isParent(id, parent)
	if err != nil {
		return 0, err
	}
	if !direct {
		return d.naive.DiffSize(id, idMappings, parent, parentMappings, mountLabel)
	}
	f, err := d.home.form(id)
	if err != nil {
		return 0, layerError("measuring", id, err)
	}
	only, err := d.changedPaths(id, f, orNone(idMappings), orNone(parentMappings))
	if err != nil {
		return 0, layerError("comparing", id, err)
	}
	usage, err := d.usage(id, f, only)
	if err != nil {
		return 0, layerError("measuring", id, err)
	}
	return usage.Size, nil
}
