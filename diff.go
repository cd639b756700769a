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

// Diff returns a tar archive, uncompressed, of what makes the layer out of parent. Deletions and opaque directories are in
// it as OCI's layers have them, in names that begin with .wh.; owners are as idMappings has them in the container.
//
// Against its own parent the layer is not mounted; against any other, both are, for as long as the archive is open. Until
// it is closed the layer should be neither mounted nor unmounted: the storage library's Store holds its lock for that.
func (d *Driver) Diff(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) (io.ReadCloser, error) {
	diff, err := d.core.Diff(id, storagelib.Mappings(idMappings), parent, storagelib.Mappings(parentMappings))
	if errors.Is(err, layerdiff.ErrNotParent) {
		return d.naive.Diff(id, idMappings, parent, parentMappings, mountLabel)
	}
	if err != nil {
		return nil, ofLibrary(err)
	}
	return libraryReader{diff}, nil
}

// DiffSize returns how many bytes are in the files that make the layer out of parent. Against its own parent that is what
// ReadWriteDiskUsage says, but for files that UpdateLayerIDMap has put there; against any other, both are mounted and compared.
func (d *Driver) DiffSize(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) (int64, error) {
	size, err := d.core.DiffSize(id, storagelib.Mappings(idMappings), parent, storagelib.Mappings(parentMappings))
	if errors.Is(err, layerdiff.ErrNotParent) {
		return d.naive.DiffSize(id, idMappings, parent, parentMappings, mountLabel)
	}
	return size, ofLibrary(err)
}

// Changes returns what makes the layer out of parent, sorted by path. A file in the layer is a change, even if its content
// is as before: it was written to. Where UpdateLayerIDMap put it there, it is one if anything but its owner is another now. A directory is one if its owner, mode, time of modification or extended attributes
// differ, or if anything in it is a change. What an opaque directory hides is deleted.
//
// Against its own parent the layer is not mounted, and each directory of an ancestor is read once at most; against any
// other, both are mounted and compared.
func (d *Driver) Changes(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) ([]archive.Change, error) {
	found, err := d.core.Changes(id, storagelib.Mappings(idMappings), parent, storagelib.Mappings(parentMappings))
	if errors.Is(err, layerdiff.ErrNotParent) {
		return d.naive.Changes(id, idMappings, parent, parentMappings, mountLabel)
	}
	var changes []archive.Change
	for _, c := range found {
		changes = append(changes, archive.Change{Path: c.Path, Kind: changeTypes[c.Kind]})
	}
	return changes, ofLibrary(err)
}

// changeTypes are the library's kinds of changes.
var changeTypes = map[layerdiff.ChangeKind]archive.ChangeType{
	layerdiff.ChangeModify: archive.ChangeModify,
	layerdiff.ChangeAdd:    archive.ChangeAdd,
	layerdiff.ChangeDelete: archive.ChangeDelete,
}

// applyDiff is ApplyDiff of every version of the library.
func (d *Driver) applyDiff(id, parent string, options graphdriver.ApplyDiffOpts) (int64, error) {
	size, err := d.core.ApplyDiff(id, parent, driver.ApplyOptions{
		Diff:              options.Diff,
		MountLabel:        options.MountLabel,
		Mappings:          storagelib.Mappings(options.Mappings),
		IgnoreChownErrors: options.IgnoreChownErrors,
		ForceMask:         options.ForceMask,
	})
	return size, ofLibrary(err)
}

// ReadWriteDiskUsage returns what the layer's own directory takes: the bytes in its files, and the number of its inodes. A
// file with several names counts once; whiteouts, and the files that aufs keeps for itself, do not count.
func (d *Driver) ReadWriteDiskUsage(id string) (*directory.DiskUsage, error) {
	usage, err := d.core.ReadWriteDiskUsage(id)
	if err != nil {
		return nil, ofLibrary(err)
	}
	return &directory.DiskUsage{Size: usage.Size, InodeCount: usage.Inodes}, nil
}

// DiffGetter returns a reader of the files of a layer, by their names in its archive. A file that the layer's own directory does not have
// is that of the nearest ancestor, if the layer does not hide it: a layer that was made from a template has all of its files there.
//
// Names and symbolic links in them are looked up with the layer's directory as the root. Only regular files are opened.
func (d *Driver) DiffGetter(id string) (graphdriver.FileGetCloser, error) {
	getter, err := d.core.DiffGetter(id)
	if err != nil {
		return nil, ofLibrary(err)
	}
	return libraryGetter{getter}, nil
}

// libraryGetter is a reader of files whose errors match the library's as well.
type libraryGetter struct{ *layerdiff.Getter }

// Get opens the file with a name as archives have it: with or without a '/', or a './', before it. Where an archive has several entries of
// one name with content, it has to be asked for each of them, in their order.
func (g libraryGetter) Get(name string) (io.ReadCloser, error) {
	f, err := g.Getter.Get(name)
	return f, ofLibrary(err)
}

// libraryReader is an archive whose errors match the library's as well.
type libraryReader struct{ io.ReadCloser }

// Read implements io.Reader.
func (r libraryReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return n, ofLibrary(err)
}
