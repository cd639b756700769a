//go:build linux

package driver

import (
	"io"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// Parent returns the direct parent of the layer id, or "" if the layer has none.
func (d *Driver) Parent(id string) (string, error) {
	layer, err := d.Stores.Lookup("reading the parents of", id)
	if err != nil {
		return "", err
	}
	parents, err := layer.Home.WrittenParents(id)
	return append(parents, "")[0], err
}

// child returns the layer id. direct reports whether parent is its direct parent. The parent of a layer without parents is "".
func (d *Driver) child(id, parent string) (layer store.Layer, direct bool, err error) {
	if layer, err = d.Stores.Lookup("reading the parents of", id); err != nil {
		return layer, false, err
	}
	parents, err := d.Stores.Parents(layer)
	return layer, err == nil && append(parents, store.Layer{})[0].ID == parent, err
}

// compared returns the layer id, and the mappings of the layer's and the parent's owners on the disk, for an operation that compares both.
// The error is ErrNotParent if parent is not the layer's parent.
func (d *Driver) compared(op, id string, ids *idmap.Mappings, parent string, parentIDs *idmap.Mappings) (store.Layer, *idmap.Mappings, *idmap.Mappings, error) {
	layer, direct, err := d.child(id, parent)
	if err == nil && !direct {
		return layer, nil, nil, layerdiff.ErrNotParent
	}
	if err == nil {
		ids, err = d.OnDisk(id, ids)
	}
	if err == nil {
		parentIDs, err = d.OnDisk(parent, parentIDs)
	}
	if err != nil {
		return layer, nil, nil, store.LayerError(op, id, err)
	}
	return layer, ids, parentIDs, nil
}

// orNone returns m or, if m is nil, the mapping that leaves ids as they are.
func orNone(m *idmap.Mappings) *idmap.Mappings {
	if m == nil {
		return &idmap.Mappings{}
	}
	return m
}

// Diff returns an uncompressed tar archive of what the layer changes in its parent. Deletions and opaque directories appear as in OCI's
// layers, under names that begin with .wh.; owners are the ids in the container, according to idMappings.
//
// Diff does not mount the layer. Nobody should mount or unmount the layer until the archive is closed: the storage library's Store holds
// its lock for that long. The error is ErrNotParent if parent is not the layer's parent.
func (d *Driver) Diff(id string, idMappings *idmap.Mappings, parent string, parentMappings *idmap.Mappings) (io.ReadCloser, error) {
	layer, idMappings, parentMappings, err := d.compared("archiving", id, idMappings, parent, parentMappings)
	if err != nil {
		return nil, err
	}
	f, mounted, err := d.readable(layer)
	if err != nil {
		return nil, store.LayerError("archiving", id, err)
	}
	only, err := layerdiff.ChangedPaths(d.Stores, layer, f, idMappings, parentMappings)
	if err != nil {
		return nil, store.LayerError("archiving", id, err)
	}
	held, err := layerdiff.Hold(layer)
	if err != nil {
		return nil, store.LayerError("archiving", id, err)
	}
	// A layer without parents can be in use without a mount.
	quiet := !mounted && parent != ""
	return layerdiff.Archive(held, f, d.belowOf(layer), idMappings, only, quiet, d.Library.FileInfoHeader), nil
}

// readable makes the layer's own directory show all of the layer's content, as far as that is possible without mounting the layer. It
// returns the layer's form, and whether the layer is mounted and may change.
func (d *Driver) readable(layer store.Layer) (f whiteout.Form, mounted bool, err error) {
	if !d.Stores.IsOwn(layer) {
		f, err = layer.Home.Form(layer.ID)
		return f, false, err
	}
	lock, err := d.Home.LockLayer("reading", layer.ID)
	if err != nil {
		return "", false, err
	}
	defer lock.Unlock()
	target := d.Home.Mnt(layer.ID)
	if mounted, err = mountutil.IsMounted(target); err == nil && mounted {
		_, err = d.flush(layer.ID, target, aufsfs.LinkFlush.Live, layerquota.WithReserve)
	}
	if err != nil {
		return "", false, err
	}
	f, err = d.Home.Form(layer.ID)
	return f, mounted, err
}

// DiffSize returns the size in bytes of the files that the layer changes in its parent. For a layer without a quota, ReadWriteDiskUsage
// returns the same size, except that it also counts files that are in the layer only because UpdateLayerIDMap has changed their owners. The
// error is ErrNotParent if parent is not the layer's parent.
func (d *Driver) DiffSize(id string, idMappings *idmap.Mappings, parent string, parentMappings *idmap.Mappings) (int64, error) {
	layer, idMappings, parentMappings, err := d.compared("measuring", id, idMappings, parent, parentMappings)
	if err != nil {
		return 0, err
	}
	f, err := layer.Home.Form(id)
	if err != nil {
		return 0, store.LayerError("measuring", id, err)
	}
	only, err := layerdiff.ChangedPaths(d.Stores, layer, f, idMappings, parentMappings)
	if err != nil {
		return 0, store.LayerError("measuring", id, err)
	}
	usage, err := layerdiff.UsageOf(layer, f, only)
	if err != nil {
		return 0, store.LayerError("measuring", id, err)
	}
	return usage.Size, nil
}

// DiffGetter returns a reader of the files of a layer, by their names in the layer's archive. If the layer's own directory does not have a
// file, the reader takes the file from the nearest ancestor that has it, unless a layer above hides it: a layer made from a template has
// all of its files in ancestors.
//
// The reader looks up names, and symbolic links in them, with the layer's directory as the root. It opens only regular files.
func (d *Driver) DiffGetter(id string) (*layerdiff.Getter, error) {
	layer, err := d.Stores.Lookup("reading", id)
	if err != nil {
		return nil, err
	}
	return layerdiff.NewGetter(d.Stores, layer)
}

// Changes returns what the layer changes in its parent, sorted by path. A file in the layer is a change even if its content is the same as
// before: somebody has written to it. A file that UpdateLayerIDMap has put there is a change if anything but its owner differs. A directory
// is a change if its owner, mode, time of modification or extended attributes differ, or if anything in it is a change. Files that an
// opaque directory hides count as deleted.
//
// Changes does not mount the layer, and reads each directory of an ancestor at most once. The error is ErrNotParent if parent is not the
// layer's parent.
func (d *Driver) Changes(id string, idMappings *idmap.Mappings, parent string, parentMappings *idmap.Mappings) ([]layerdiff.Change, error) {
	layer, idMappings, parentMappings, err := d.compared("comparing", id, idMappings, parent, parentMappings)
	if err != nil {
		return nil, err
	}
	var changes []layerdiff.Change
	err = layerdiff.Reading(layer, func() (err error) {
		changes, err = d.changes(layer, idMappings, parentMappings)
		return err
	})
	if err != nil {
		return nil, store.LayerError("comparing", id, err)
	}
	return changes, nil
}

func (d *Driver) changes(layer store.Layer, idMappings, parentMappings *idmap.Mappings) ([]layerdiff.Change, error) {
	f, _, err := d.readable(layer)
	if err != nil {
		return nil, err
	}
	changed, err := owners.Changed(layer.Home, layer.ID)
	if err != nil {
		return nil, err
	}
	return layerdiff.Compare(d.Stores, layer, layerdiff.Comparison{
		Layer: whiteout.LayerDir{Root: layer.Dir(), Form: f}, Mappings: idMappings, ParentMappings: parentMappings, Owners: changed,
	})
}

// ReadWriteDiskUsage returns what the layer's own directory takes: the bytes in its files, and the number of its inodes. A file with
// several names counts once. Whiteouts, and the files that aufs keeps for itself, do not count. In aufs form, neither does a file beside its own
// whiteout.
//
// If the layer has a quota, the result is what counts in it: the blocks that all files and directories take, and the number of their
// inodes, those of whiteouts and of the backend's own files as well. Finding that out takes no longer for a layer of many files.
func (d *Driver) ReadWriteDiskUsage(id string) (*layerdiff.Usage, error) {
	layer, _, err := d.child(id, "")
	if err != nil {
		return nil, store.LayerError("measuring", id, err)
	}
	if used, err := layerquota.Usage(layer.Home, id); err == nil && used != (quota.Usage{}) {
		return &layerdiff.Usage{Size: int64(used.Bytes), Inodes: int64(used.Inodes)}, nil
	}
	f, err := layer.Home.Form(id)
	if err != nil {
		return nil, store.LayerError("measuring", id, err)
	}
	usage, err := layerdiff.UsageOf(layer, f, nil)
	if err != nil {
		return nil, store.LayerError("measuring", id, err)
	}
	return usage, nil
}
