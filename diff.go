//go:build linux

package aufs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/chrootarchive"
	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/pkg/unshare"
	"github.com/sirupsen/logrus"
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
	f, err := d.readable(id)
	if err != nil {
		return nil, layerError("reading", id, err)
	}
	idMappings = orNone(idMappings)
	options := &archive.TarOptions{
		Compression: archive.Uncompressed,
		// At the root, where these patterns are rooted: aufs's own files, but not the mark of an opaque root.
		ExcludePatterns: []string{archive.WhiteoutMetaPrefix + "*", "!" + archive.WhiteoutOpaqueDir},
		UIDMaps:         idMappings.UIDs(),
		GIDMaps:         idMappings.GIDs(),
	}
	if f != aufsForm {
		// The archiver writes the mark of an opaque directory if one of these directories has a file of that name, and
		// fails on what it cannot follow there. The layer's own has it always: an archive of the layer at rest is the
		// same.
		options.WhiteoutFormat, options.WhiteoutData = archive.OverlayWhiteoutFormat, []string{d.home.diff(id)}
	}
	diff, err := archive.TarWithOptions(d.home.diff(id), options)
	if err != nil {
		return nil, layerError("archiving", id, err)
	}
	return diff, nil
}

// readable makes the layer's own directory show all that the layer is, as far as that can be had without mounting it, and
// returns the form that it is in.
func (d *Driver) readable(id string) (form, error) {
	lock, err := d.home.lockLayer("reading", id)
	if err != nil {
		return "", err
	}
	defer lock.unlock()
	target := d.home.mnt(id)
	mounted, err := isMounted(target)
	if err != nil {
		return "", err
	}
	if mounted {
		if err := d.flush(id, target); err != nil {
			return "", err
		}
	} else if err := d.forms.settle(id); err != nil {
		// It can be read in the form that it has.
		logrus.Debugf("aufs: %v", err)
	}
	f, err := d.forms.form(id)
	if err == nil && f != aufsForm && f.xattrPrefix()+"opaque" != archive.GetOverlayXattrName("opaque") {
		err = fmt.Errorf("overlayfs has it mounted, and its marks, %s*, are not this process's: %w", f.xattrPrefix(), errInUse)
	}
	return f, err
}

// DiffSize returns how many bytes are in the files that make the layer out of parent. Against its own parent that is what
// ReadWriteDiskUsage says; against any other, both are mounted and compared.
func (d *Driver) DiffSize(id string, idMappings *idtools.IDMappings, parent string, parentMappings *idtools.IDMappings, mountLabel string) (int64, error) {
	direct, err := d.isParent(id, parent)
	if err != nil {
		return 0, err
	}
	if !direct {
		return d.naive.DiffSize(id, idMappings, parent, parentMappings, mountLabel)
	}
	usage, err := d.usage(id)
	if err != nil {
		return 0, layerError("measuring", id, err)
	}
	return usage.Size, nil
}

// ApplyDiff unpacks an uncompressed archive, as Diff makes them, into the layer, and returns how many bytes are in its
// files. It goes through a mount if the layer is mounted, or not empty, or if parent is not its parent.
func (d *Driver) ApplyDiff(id, parent string, options graphdriver.ApplyDiffOpts) (int64, error) {
	direct, err := d.isParent(id, parent)
	if err != nil {
		return 0, err
	}
	alone, err := d.canUnpack(id)
	if err != nil {
		return 0, layerError("applying a diff to", id, err)
	}
	if !direct || !alone {
		size, err := d.naive.ApplyDiff(id, parent, options)
		if err != nil {
			return 0, layerError("applying a diff to", id, err)
		}
		return size, nil
	}
	if err := d.unpack(id, options); err != nil {
		return 0, layerError("applying a diff to", id, err)
	}
	usage, err := d.usage(id)
	if err != nil {
		return 0, layerError("measuring", id, err)
	}
	return usage.Size, nil
}

// canUnpack tells if the layer id is empty and not mounted, so that an archive can just be unpacked into its directory. A
// layer that has something already is changed by the archive like any tree.
func (d *Driver) canUnpack(id string) (bool, error) {
	mounted, err := isMounted(d.home.mnt(id))
	if err != nil || mounted {
		return false, err
	}
	entries, err := os.ReadDir(d.home.diff(id))
	for _, entry := range entries {
		if !isOwnFile(entry.Name()) {
			return false, err
		}
	}
	return err == nil, err
}

// unpack extracts the archive into the directory of the layer id. Names of whiteouts are what aufs wants them to be: they
// stay as they are.
func (d *Driver) unpack(id string, options graphdriver.ApplyDiffOpts) error {
	lock, err := d.home.lockLayer("applying a diff to", id)
	if err != nil {
		return err
	}
	defer lock.unlock()
	if err := d.forms.settle(id); err != nil {
		return err
	}
	if err := d.home.forgetDerived(id); err != nil {
		return err
	}
	dir := d.home.diff(id)
	before, err := ownFiles(dir)
	if err != nil {
		return err
	}
	mappings := orNone(options.Mappings)
	err = chrootarchive.UntarUncompressed(options.Diff, dir, &archive.TarOptions{
		UIDMaps:           mappings.UIDs(),
		GIDMaps:           mappings.GIDs(),
		IgnoreChownErrors: options.IgnoreChownErrors,
		ForceMask:         options.ForceMask,
		InUserNS:          unshare.IsRootless(),
	})
	if err != nil {
		return err
	}
	if err := removeForeign(dir, before); err != nil {
		return err
	}
	if err := resolveReplacements(dir); err != nil {
		return err
	}
	below, err := d.layersBelow(id)
	if err != nil {
		return err
	}
	return markReplacedFiles(dir, ".", below)
}

// ownFiles are the names of aufs's own files at the root of a layer.
func ownFiles(dir string) (map[string]bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, entry := range entries {
		if isOwnFile(entry.Name()) {
			names[entry.Name()] = true
		}
	}
	return names, nil
}

// removeForeign removes what an archive had under the names of aufs's own files: archives of old drivers have them, and
// aufs would take another mount's pseudo-links for its own.
func removeForeign(dir string, before map[string]bool) error {
	after, err := ownFiles(dir)
	if err != nil {
		return err
	}
	return keepTimes(dir, func() (bool, error) {
		changed := false
		for name := range after {
			if before[name] {
				continue
			}
			changed = true
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return changed, err
			}
		}
		return changed, nil
	})
}

// resolveReplacements deals with names that an archive both deletes and brings: what OCI means by it is that the new one
// takes the place of that of the layers below, but aufs would hide the new one as well. A file hides those below
// without a whiteout; a directory does when it is opaque.
func resolveReplacements(root string) error {
	return eachDir(root, func(dir string, entries []fs.DirEntry) (bool, error) {
		// Overlayfs's own marks are not content: an archive cannot bring any.
		for _, f := range []form{overlayTrusted, overlayUser} {
			if err := stripXattrs(dir, f); err != nil {
				return false, err
			}
		}
		present := map[string]fs.DirEntry{}
		for _, entry := range entries {
			present[entry.Name()] = entry
		}
		changed := false
		for _, entry := range entries {
			hidden, ok := whiteoutOf(entry.Name())
			replacement := present[hidden]
			if !ok || !entry.Type().IsRegular() || replacement == nil {
				continue
			}
			if replacement.IsDir() {
				if err := makeOpaque(filepath.Join(dir, hidden)); err != nil {
					return changed, err
				}
			}
			changed = true
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return changed, err
			}
		}
		return changed, nil
	})
}

// markReplacedFiles makes those directories opaque, in the directory rel of the layer at root and below it, that take the
// place of a file. Aufs looks for more directories of that name below the file, and would show what the file has hidden.
func markReplacedFiles(root, rel string, below []layerDir) error {
	own, err := readListing(root, rel, aufsForm)
	if err != nil || own.opaque || len(below) == 0 {
		return err
	}
	before, err := readMerged(below, rel)
	if err != nil {
		return err
	}
	for name, entry := range own.entries {
		if !entry.IsDir() || !before.shows(name) {
			continue
		}
		path := filepath.Join(rel, name)
		if dirs := before.dirs(name); len(dirs) > 0 {
			err = markReplacedFiles(root, path, dirs)
		} else {
			err = makeOpaque(filepath.Join(root, path))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeOpaque marks a directory of a layer in aufs form as opaque.
func makeOpaque(dir string) error {
	return keepTimes(dir, func() (bool, error) { return true, makeMark(filepath.Join(dir, archive.WhiteoutOpaqueDir)) })
}

// DiffGetter returns a reader of the files in the layer's own directory, by their names in its archive. No name leads out
// of it.
func (d *Driver) DiffGetter(id string) (graphdriver.FileGetCloser, error) {
	if _, err := d.home.parents(id); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(d.home.diff(id))
	if err != nil {
		return nil, layerError("reading", id, err)
	}
	return branchGetter{root}, nil
}

// branchGetter reads the files of one layer.
type branchGetter struct {
	root *os.Root
}

// Get opens the file with a name as archives have it: with or without a '/', or a './', before it.
func (g branchGetter) Get(name string) (io.ReadCloser, error) {
	return g.root.Open(strings.TrimLeft(filepath.Clean("/"+name), "/"))
}

// Close lets go of the layer's directory. Files that are open stay so.
func (g branchGetter) Close() error { return g.root.Close() }
