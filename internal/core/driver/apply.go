//go:build linux

package driver

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/staging"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
)

var (
	// ErrNoArchive matches the error for a nil reader of an archive.
	ErrNoArchive = errors.New("there is no archive")
	errNotAlone  = errors.New("the layer is mounted, or is not empty")
)

// ApplyDiff unpacks an archive into the layer id, and returns the size of the archive's files in bytes. It applies the archive through a
// mount if the layer is mounted or not empty, or if parent is not the layer's parent. When ApplyDiff returns, the files are on the disk.
func (d *Driver) ApplyDiff(id, parent string, options ApplyOptions) (int64, error) {
	const op = "applying a diff to"
	if options.Diff == nil {
		return 0, store.LayerError(op, id, ErrNoArchive)
	}
	_, direct, err := d.child(id, parent)
	if err == nil {
		err = d.Stores.MustChange(op, id)
	}
	if err == nil {
		options.Mappings, err = d.OnDisk(id, options.Mappings)
	}
	if err != nil {
		return 0, store.LayerError(op, id, err)
	}
	alone, size := false, int64(0)
	if direct {
		alone, size, err = d.unpack(id, options)
	}
	if err == nil && !alone {
		size, err = d.applyToContent(id, options)
	}
	if err != nil {
		return 0, store.LayerError(op, id, err)
	}
	return size, nil
}

// applyToContent applies an archive through a mount of the layer. ApplyDiff calls it for a layer that is mounted or has content, and for an
// archive made against another layer than the parent.
func (d *Driver) applyToContent(id string, options ApplyOptions) (size int64, err error) {
	dir, err := os.OpenFile(d.Home.Diff(id), fsutil.OpenDirectory, 0)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	// The content in kept/<id> belongs to an archive that was applied earlier.
	if err := kept.Drop(d.Home, id); err != nil {
		return 0, err
	}
	scan := layertar.NewScan(options.Diff)
	options.Diff = scan
	contents, err := scan.ContentsOnce(func() error {
		size, err = d.applyMounted(id, options)
		return err
	})
	if contents.Xattrs {
		err = errors.Join(err, d.stripForeign(id))
	}
	if err == nil {
		err = layerquota.MustBeWithin(d.Home, id)
	}
	if err != nil {
		return 0, err
	}
	return size, fsutil.SyncFS(int(dir.Fd()), dir.Name())
}

// applyMounted has the library apply an archive to a mount of the layer id.
func (d *Driver) applyMounted(id string, options ApplyOptions) (size int64, err error) {
	dir, err := d.GetDurable(id, options.MountLabel)
	if err != nil {
		return 0, err
	}
	how := d.UnpackOptions(options)
	// The library's NaiveDiffDriver, which applies archives through a mount, does not set this mask on Linux either.
	how.ForceMask = nil
	size, err = d.Library.ApplyLayer(dir, options.Diff, how)
	return size, errors.Join(err, d.Put(id))
}

// UnpackOptions returns the options with which the library unpacks an archive.
func (d *Driver) UnpackOptions(options ApplyOptions) layertar.UnpackOptions {
	return layertar.UnpackOptions{
		Mappings:          orNone(options.Mappings),
		IgnoreChownErrors: options.IgnoreChownErrors || d.IgnoreChownErrors,
		ForceMask:         options.ForceMask,
		InUserNS:          d.Library.Rootless,
	}
}

// stripForeign removes overlayfs's own attributes from the files of the layer id. An archive can bring such attributes through an aufs
// mount, and into the directory of a layer without parents. stripForeign skips a layer in overlay form: overlayfs itself has set such
// attributes there, and it lets nobody else set them.
func (d *Driver) stripForeign(id string) error {
	lock, err := d.Home.LockID(id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if f, err := d.Home.Form(id); err != nil || f != whiteout.AufsForm {
		return err
	}
	return whiteout.StripTree(d.Home.Diff(id))
}

// canUnpack reports whether the layer id is empty and not mounted, so that an archive can be unpacked straight into its directory. If the
// layer has content, applying the archive means changing and deleting files there.
func (d *Driver) canUnpack(id string) (bool, error) {
	mounted, err := mountutil.IsMounted(d.Home.Mnt(id))
	if err != nil || mounted {
		return false, err
	}
	// This finds aufs mounts only. If the layer is in overlay form, ToAufs later looks for overlay mounts.
	if used, err := d.Forms.Users.AufsUses(id); err != nil || used {
		return false, err
	}
	entries, err := os.ReadDir(d.Home.Diff(id))
	for _, entry := range entries {
		if !whiteout.IsOwnFile(entry.Name()) {
			return false, err
		}
	}
	return err == nil, err
}

// unpack extracts the archive into the directory of the layer id, and returns the size of its files, as DiffSize does.
//
// unpack extracts into a scratch directory, which takes the place of the layer's directory once everything is on the disk. So the layer has
// all of the archive or nothing, unless directories cannot be exchanged (see unpack.TakePlace).
//
// If the layer has content or is mounted, unpack does nothing, and alone is false.
func (d *Driver) unpack(id string, options ApplyOptions) (alone bool, size int64, err error) {
	lock, err := d.Home.LockLayer("applying a diff to", id)
	if err != nil {
		return false, 0, err
	}
	defer lock.Unlock()
	if alone, err = d.canUnpack(id); err != nil || !alone {
		return alone, 0, err
	}
	if err := d.prepareUnpack(id); err != nil {
		return true, 0, err
	}
	s, err := d.Home.NewScratch("apply")
	if err != nil {
		return true, 0, err
	}
	defer staging.Remove(s)
	dir := filepath.Join(s.Dir, "root")
	if err := fsutil.MkdirWithoutACL(dir, 0o700); err != nil {
		return true, 0, err
	}
	if err := layerquota.CountIn(d.Home, id, dir); err != nil {
		return true, 0, err
	}
	extracted, err := unpack.Extract(dir, d.Home.Diff(id), options.Diff, d.UnpackOptions(options), d.Library.Extractor)
	if err != nil {
		return true, 0, err
	}
	size, marked, err := extracted.Settle(d.belowOf(d.Stores.Own(id)))
	if err == nil {
		err = layerquota.MustBeWithin(d.Home, id)
	}
	if err != nil {
		return true, 0, err
	}
	return true, size, d.putUnpacked(id, dir, marked, s)
}

// belowOf returns a function that reads the layers below the layer.
func (d *Driver) belowOf(layer store.Layer) func() ([]whiteout.LayerDir, error) {
	return func() ([]whiteout.LayerDir, error) { return d.Stores.Below(layer) }
}

// prepareUnpack makes the layer id, which has to be empty, ready for new content. The caller holds the layer's lock.
func (d *Driver) prepareUnpack(id string) error {
	// The marks of the archive are in aufs form. The layer itself has none to convert, because it is empty.
	if err := d.Forms.ToAufs(id); err != nil {
		return err
	}
	if err := kept.Drop(d.Home, id); err != nil {
		return err
	}
	return d.Home.Invalidate(id)
}

// putUnpacked puts dir in the place of the directory of the layer id. dir is in s, and has the content for the layer. The layer has to be
// empty, and the caller holds its lock. marked is as returned by Settle.
func (d *Driver) putUnpacked(id, dir string, marked []string, s *store.Scratch) error {
	below, err := d.Stores.Below(d.Stores.Own(id))
	if err != nil {
		return err
	}
	replaced, err := unpack.MarkReplaced(dir, ".", below)
	if err != nil {
		return err
	}
	if err := s.SyncData(); err != nil {
		return err
	}
	// Get returns the directory of a layer without parents, so a caller of Get may have written there.
	if still, err := d.canUnpack(id); err != nil || !still {
		return errors.Join(err, errors.New("somebody has written to the layer while the archive was unpacked"))
	}
	// The kept files go in first: the content must never be there without them.
	if err := kept.Place(d.Home, kept.Beside(dir), id); err != nil {
		return err
	}
	if err := unpack.TakePlace(dir, d.Home.Diff(id)); err != nil {
		return errors.Join(err, kept.Drop(d.Home, id))
	}
	if marked != nil {
		marked = append(marked, replaced...)
	}
	d.learn(id, marked)
	return nil
}

// learn makes the shadows and the cache entry of the layer id, which was just unpacked. Otherwise the first mount of the layer would have
// to make them. marked is as in putUnpacked. The caller holds the layer's lock.
func (d *Driver) learn(id string, marked []string) {
	layer := d.Stores.Own(id)
	parents, err := d.Stores.Parents(layer)
	if err == nil {
		_, err = d.Shadows.Find(append([]store.Layer{layer}, parents...), true, marked)
	}
	if err != nil {
		// Not fatal here: if the error persists, the mount fails with it.
		logrus.Debugf("%v", store.LayerError("preparing", id, err))
	}
}
