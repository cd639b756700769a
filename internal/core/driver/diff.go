//go:build linux

package driver

import (
	"errors"
	"io"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// ErrNotParent: a layer is to be compared with another one than its parent, which takes a mount of both.
var ErrNotParent = errors.New("the layer has another parent")

// isParent tells if parent is the direct parent of the layer id: "" is that of a layer without one.
func (d *Driver) isParent(id, parent string) (bool, error) {
	parents, err := d.home.Parents(id)
	if err != nil {
		return false, err
	}
	if parent == "" {
		return len(parents) == 0, nil
	}
	return len(parents) > 0 && parents[0] == parent, nil
}

// Parent is the direct parent of the layer id, or "" for one without any.
func (d *Driver) Parent(id string) (string, error) {
	parents, err := d.home.WrittenParents(id)
	return append(parents, "")[0], err
}

// orNone is the mapping that leaves ids as they are, for none given.
func orNone(m *idmap.Mappings) *idmap.Mappings {
	if m == nil {
		return &idmap.Mappings{}
	}
	return m
}

// Diff returns a tar archive, uncompressed, of what makes the layer out of parent. Deletions and opaque directories are in
// it as OCI's layers have them, in names that begin with .wh.; owners are as idMappings has them in the container.
//
// The layer is not mounted. Until the archive is closed it should be neither mounted nor unmounted: the storage library's Store holds its
// lock for that. The error is ErrNotParent if parent is not its parent.
func (d *Driver) Diff(id string, idMappings *idmap.Mappings, parent string, parentMappings *idmap.Mappings) (io.ReadCloser, error) {
	direct, err := d.isParent(id, parent)
	if err != nil {
		return nil, err
	}
	if !direct {
		return nil, ErrNotParent
	}
	f, mounted, err := d.readable(id)
	if err != nil {
		return nil, store.LayerError("reading", id, err)
	}
	only, err := d.changedPaths(id, f, orNone(idMappings), orNone(parentMappings))
	if err != nil {
		return nil, store.LayerError("comparing", id, err)
	}
	held, err := hold(d.home, id)
	if err != nil {
		return nil, store.LayerError("reading", id, err)
	}
	// A layer without parents is used without a mount.
	quiet := !mounted && parent != ""
	return d.archiveLayer(held, f, orNone(idMappings), only, quiet), nil
}

// readable makes the layer's own directory show all that the layer is, as far as that can be had without mounting it, and
// returns the form that it is in.
func (d *Driver) readable(id string) (f whiteout.Form, mounted bool, err error) {
	lock, err := d.home.LockLayer("reading", id)
	if err != nil {
		return "", false, err
	}
	defer lock.Unlock()
	target := d.home.Mnt(id)
	if mounted, err = mountutil.IsMounted(target); err != nil {
		return "", false, err
	}
	if mounted {
		if _, err := d.flush(id, target, aufsfs.LinkFlush.Live); err != nil {
			return "", false, err
		}
	}
	f, err = d.home.Form(id)
	return f, mounted, err
}

// DiffSize returns how many bytes are in the files that make the layer out of parent. Against its own parent that is what
// ReadWriteDiskUsage says, but for files that UpdateLayerIDMap has put there; against any other, the error is ErrNotParent.
func (d *Driver) DiffSize(id string, idMappings *idmap.Mappings, parent string, parentMappings *idmap.Mappings) (int64, error) {
	direct, err := d.isParent(id, parent)
	if err != nil {
		return 0, err
	}
	if !direct {
		return 0, ErrNotParent
	}
	f, err := d.home.Form(id)
	if err != nil {
		return 0, store.LayerError("measuring", id, err)
	}
	only, err := d.changedPaths(id, f, orNone(idMappings), orNone(parentMappings))
	if err != nil {
		return 0, store.LayerError("comparing", id, err)
	}
	usage, err := d.usage(id, f, only)
	if err != nil {
		return 0, store.LayerError("measuring", id, err)
	}
	return usage.Size, nil
}
