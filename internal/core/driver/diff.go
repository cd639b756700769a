//go:build linux

package driver

import (
	"io"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// Parent is the direct parent of the layer id, or "" for one without any.
func (d *Driver) Parent(id string) (string, error) { return d.home.Parent(id) }

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
	direct, err := d.home.IsParent(id, parent)
	if err != nil {
		return nil, err
	}
	if !direct {
		return nil, layerdiff.ErrNotParent
	}
	f, mounted, err := d.readable(id)
	if err != nil {
		return nil, store.LayerError("reading", id, err)
	}
	only, err := layerdiff.ChangedPaths(d.home, id, f, orNone(idMappings), orNone(parentMappings))
	if err != nil {
		return nil, store.LayerError("comparing", id, err)
	}
	held, err := layerdiff.Hold(d.home, id)
	if err != nil {
		return nil, store.LayerError("reading", id, err)
	}
	// A layer without parents is used without a mount.
	quiet := !mounted && parent != ""
	return layerdiff.Archive(held, f, orNone(idMappings), only, quiet, d.library.FileInfoHeader), nil
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
	direct, err := d.home.IsParent(id, parent)
	if err != nil {
		return 0, err
	}
	if !direct {
		return 0, layerdiff.ErrNotParent
	}
	f, err := d.home.Form(id)
	if err != nil {
		return 0, store.LayerError("measuring", id, err)
	}
	only, err := layerdiff.ChangedPaths(d.home, id, f, orNone(idMappings), orNone(parentMappings))
	if err != nil {
		return 0, store.LayerError("comparing", id, err)
	}
	usage, err := layerdiff.UsageOf(d.home, id, f, only)
	if err != nil {
		return 0, store.LayerError("measuring", id, err)
	}
	return usage.Size, nil
}

// DiffGetter returns a reader of the files of a layer, by their names in its archive. A file that the layer's own directory does not have
// is that of the nearest ancestor, if the layer does not hide it: a layer that was made from a template has all of its files there.
//
// Names and symbolic links in them are looked up with the layer's directory as the root. Only regular files are opened.
func (d *Driver) DiffGetter(id string) (*layerdiff.Getter, error) {
	return layerdiff.NewGetter(d.home, id)
}

// Changes returns what makes the layer out of parent, sorted by path. A file in the layer is a change, even if its content
// is as before: it was written to. Where UpdateLayerIDMap put it there, it is one if anything but its owner is another now. A directory is one if its owner, mode, time of modification or extended attributes
// differ, or if anything in it is a change. What an opaque directory hides is deleted.
//
// The layer is not mounted, and each directory of an ancestor is read once at most. The error is ErrNotParent if parent is not its parent.
func (d *Driver) Changes(id string, idMappings *idmap.Mappings, parent string, parentMappings *idmap.Mappings) ([]layerdiff.Change, error) {
	direct, err := d.home.IsParent(id, parent)
	if err != nil {
		return nil, err
	}
	if !direct {
		return nil, layerdiff.ErrNotParent
	}
	var changes []layerdiff.Change
	err = layerdiff.Reading(d.home, id, func() (err error) {
		changes, err = d.changes(id, orNone(idMappings), orNone(parentMappings))
		return err
	})
	if err != nil {
		return nil, store.LayerError("comparing", id, err)
	}
	return changes, nil
}

func (d *Driver) changes(id string, idMappings, parentMappings *idmap.Mappings) ([]layerdiff.Change, error) {
	f, _, err := d.readable(id)
	if err != nil {
		return nil, err
	}
	changed, err := owners.Changed(d.home, id)
	if err != nil {
		return nil, err
	}
	return layerdiff.Compare(d.home, id, layerdiff.Comparison{
		Layer: whiteout.LayerDir{Root: d.home.Diff(id), Form: f}, Mappings: idMappings, ParentMappings: parentMappings, Owners: changed,
	})
}

// ReadWriteDiskUsage returns what the layer's own directory takes: the bytes in its files, and the number of its inodes. A
// file with several names counts once; whiteouts, and the files that aufs keeps for itself, do not count.
func (d *Driver) ReadWriteDiskUsage(id string) (*layerdiff.Usage, error) {
	if _, err := d.home.Parents(id); err != nil {
		return nil, err
	}
	f, err := d.home.Form(id)
	if err != nil {
		return nil, store.LayerError("measuring", id, err)
	}
	usage, err := layerdiff.UsageOf(d.home, id, f, nil)
	if err != nil {
		return nil, store.LayerError("measuring", id, err)
	}
	return usage, nil
}
