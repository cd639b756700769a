//go:build linux

package aufs

import (
	"errors"
	"io"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/directory"
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

// Diff returns an uncompressed tar archive of the changes that turn parent into the layer. The archive represents
// deletions and opaque directories as OCI image layers do: by names that begin with ".wh.". The owners in the archive
// are ids in the container, according to idMappings.
//
// If parent is the layer's own parent, Diff mounts neither of them. Otherwise it mounts both for as long as the archive
// is open. Until the archive is closed, nobody should mount or unmount the layer. The storage library's Store holds a
// lock to ensure that.
func (d *Driver) Diff(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) (io.ReadCloser, error) {
	diff, err := d.core.Diff(id, storagelib.Mappings(idMappings), parent, storagelib.Mappings(parentMappings))
	if errors.Is(err, layerdiff.ErrNotParent) {
		if idMappings, parentMappings, err = d.bothOnDisk(id, idMappings, parent, parentMappings); err != nil {
			return nil, err
		}
		return d.naive.Diff(id, idMappings, parent, parentMappings, mountLabel)
	}
	if err != nil {
		return nil, ofLibrary(err)
	}
	return libraryReader{diff}, nil
}

// DiffSize returns the size in bytes of the files that turn parent into the layer. If parent is the layer's own parent,
// that is the size that ReadWriteDiskUsage returns for a layer without a quota, less the files that are in the layer
// only because UpdateLayerIDMap changed their owners. Otherwise DiffSize mounts both layers and compares them.
func (d *Driver) DiffSize(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) (int64, error) {
	size, err := d.core.DiffSize(id, storagelib.Mappings(idMappings), parent, storagelib.Mappings(parentMappings))
	if errors.Is(err, layerdiff.ErrNotParent) {
		if idMappings, parentMappings, err = d.bothOnDisk(id, idMappings, parent, parentMappings); err != nil {
			return 0, err
		}
		return d.naive.DiffSize(id, idMappings, parent, parentMappings, mountLabel)
	}
	return size, ofLibrary(err)
}

// Changes returns the changes that turn parent into the layer, sorted by path. A file in the layer's own directory is a
// change even if its content is the same as in parent: it is there because somebody wrote to it. If UpdateLayerIDMap
// put the file there, the file is a change only if something other than its owner differs. A directory is a change if
// its owner, mode, modification time or extended attributes differ, or if anything in it is a change. Whatever an
// opaque directory hides counts as deleted.
//
// If parent is the layer's own parent, Changes mounts neither of them, and reads each directory of an ancestor at most
// once. Otherwise it mounts both layers and compares them.
func (d *Driver) Changes(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) ([]archive.Change, error) {
	found, err := d.core.Changes(id, storagelib.Mappings(idMappings), parent, storagelib.Mappings(parentMappings))
	if errors.Is(err, layerdiff.ErrNotParent) {
		if idMappings, parentMappings, err = d.bothOnDisk(id, idMappings, parent, parentMappings); err != nil {
			return nil, err
		}
		return d.naive.Changes(id, idMappings, parent, parentMappings, mountLabel)
	}
	var changes []archive.Change
	for _, c := range found {
		changes = append(changes, archive.Change{Path: c.Path, Kind: changeTypes[c.Kind]})
	}
	return changes, ofLibrary(err)
}

// changeTypes maps the driver's kinds of changes to the library's.
var changeTypes = map[layerdiff.ChangeKind]archive.ChangeType{
	layerdiff.ChangeModify: archive.ChangeModify,
	layerdiff.ChangeAdd:    archive.ChangeAdd,
	layerdiff.ChangeDelete: archive.ChangeDelete,
}

// applyDiff does the work of ApplyDiff, whose signature differs between versions of the library.
func (d *Driver) applyDiff(id, parent string, options graphdriver.ApplyDiffOpts) (int64, error) {
	size, err := d.core.ApplyDiff(id, parent, applyOptions(options))
	return size, ofLibrary(err)
}

// applyOptions are options of the library as the driver has them.
func applyOptions(options graphdriver.ApplyDiffOpts) driver.ApplyOptions {
	return driver.ApplyOptions{
		Diff:              options.Diff,
		MountLabel:        options.MountLabel,
		Mappings:          storagelib.Mappings(options.Mappings),
		IgnoreChownErrors: options.IgnoreChownErrors,
		ForceMask:         options.ForceMask,
	}
}

// ReadWriteDiskUsage returns the disk usage of the layer's own directory: the bytes in its files, and the number of its
// inodes. A file with several names counts once. Whiteouts, and the files that aufs keeps for itself, do not count. If
// the layer has a quota, the result is what counts in that.
func (d *Driver) ReadWriteDiskUsage(id string) (*directory.DiskUsage, error) {
	usage, err := d.core.ReadWriteDiskUsage(id)
	if err != nil {
		return nil, ofLibrary(err)
	}
	return &directory.DiskUsage{Size: usage.Size, InodeCount: usage.Inodes}, nil
}

// DiffGetter returns a reader of the layer's files, by their names in the layer's archive. If the layer's own directory
// does not have a file, and the layer does not hide it, the file comes from the nearest ancestor that shows it. All
// files of a layer that was made from a template come from its ancestors.
//
// The reader looks up names, and symbolic links in them, with the layer's directory as the root. It opens only regular
// files.
func (d *Driver) DiffGetter(id string) (graphdriver.FileGetCloser, error) {
	getter, err := d.core.DiffGetter(id)
	if err != nil {
		return nil, ofLibrary(err)
	}
	return libraryGetter{getter}, nil
}

// libraryGetter is a layerdiff.Getter whose errors match the library's as well.
type libraryGetter struct{ *layerdiff.Getter }

// Get opens the file with this name in the layer's archive, with or without a leading '/' or './'. If the archive has
// several entries with content for one name, the caller must ask for each of them, in the order of the archive.
func (g libraryGetter) Get(name string) (io.ReadCloser, error) {
	f, err := g.Getter.Get(name)
	return f, ofLibrary(err)
}

// libraryReader is an archive whose read errors match the library's as well.
type libraryReader struct{ io.ReadCloser }

// Read implements io.Reader.
func (r libraryReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return n, ofLibrary(err)
}
