//go:build linux

package driver

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
)

// ApplyDiff unpacks an archive into the layer id, and returns how many bytes are in its files. It goes through a mount if the layer is
// mounted, or not empty, or if parent is not its parent. When it returns the files are on the disk.
func (d *Driver) ApplyDiff(id, parent string, options ApplyOptions) (int64, error) {
	if options.Diff == nil {
		return 0, store.LayerError("applying a diff to", id, errors.New("there is no archive"))
	}
	direct, err := d.home.IsParent(id, parent)
	if err != nil {
		return 0, err
	}
	alone, size := false, int64(0)
	if direct {
		alone, size, err = d.unpack(id, options)
	}
	if err == nil && !alone {
		size, err = d.applyToContent(id, options)
	}
	if err != nil {
		return 0, store.LayerError("applying a diff to", id, err)
	}
	return size, nil
}

// applyToContent applies an archive to a layer that is mounted, or has something already, or is compared with another one than
// its parent: through a mount.
func (d *Driver) applyToContent(id string, options ApplyOptions) (size int64, err error) {
	dir, err := os.OpenFile(d.home.Diff(id), fsutil.OpenDirectory, 0)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	// It is about an archive that was applied before.
	if err := kept.Drop(d.home, id); err != nil {
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
	if err != nil {
		return 0, err
	}
	return size, fsutil.SyncFS(int(dir.Fd()), dir.Name())
}

// applyMounted has the library apply an archive to a mount of the layer id.
func (d *Driver) applyMounted(id string, options ApplyOptions) (size int64, err error) {
	dir, err := d.Get(id, GetOptions{MountLabel: options.MountLabel})
	if err != nil {
		return 0, err
	}
	how := d.UnpackOptions(options)
	// The overlay driver's way does not have it either.
	how.ForceMask = nil
	size, err = d.library.ApplyLayer(dir, options.Diff, how)
	return size, errors.Join(err, d.Put(id))
}

// UnpackOptions are those with which the library unpacks an archive.
func (d *Driver) UnpackOptions(options ApplyOptions) layertar.UnpackOptions {
	return layertar.UnpackOptions{
		Mappings:          orNone(options.Mappings),
		IgnoreChownErrors: options.IgnoreChownErrors || d.ignoreChownErrors,
		ForceMask:         options.ForceMask,
		InUserNS:          d.library.Rootless,
	}
}

// stripForeign takes overlayfs's own attributes off the files of the layer id: aufs lets an archive bring them, and the directory
// of a layer without parents does. A layer that overlayfs has mounted has its own, and overlayfs lets nobody set others.
func (d *Driver) stripForeign(id string) error {
	lock, err := d.home.LockID(id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if f, err := d.home.Form(id); err != nil || f != whiteout.AufsForm {
		return err
	}
	return whiteout.EachDir(d.home.Diff(id), func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
		errs := []error{whiteout.StripXattrs(dir, ".", whiteout.OverlayTrusted, whiteout.OverlayUser)}
		for _, entry := range entries {
			if !entry.IsDir() {
				errs = append(errs, fsutil.IgnoreGone(whiteout.StripXattrs(dir, entry.Name(), whiteout.OverlayTrusted, whiteout.OverlayUser)))
			}
		}
		return false, errors.Join(errs...)
	})
}

// canUnpack tells if the layer id is empty and not mounted, so that an archive can just be unpacked into its directory. A
// layer that has something already is changed by the archive like any tree.
func (d *Driver) canUnpack(id string) (bool, error) {
	mounted, err := mountutil.IsMounted(d.home.Mnt(id))
	if err != nil || mounted {
		return false, err
	}
	// Of overlayfs that is asked if the layer has its form.
	if used, err := d.forms.Users.AufsUses(id); err != nil || used {
		return false, err
	}
	entries, err := os.ReadDir(d.home.Diff(id))
	for _, entry := range entries {
		if !whiteout.IsOwnFile(entry.Name()) {
			return false, err
		}
	}
	return err == nil, err
}

// unpack extracts the archive into the directory of the layer id, and returns the size of what is in it, as DiffSize does.
//
// It extracts into a scratch directory, which takes the place of the layer's once all of it is on the disk: the layer has
// all of the archive, or nothing, whatever happens on the way.
//
// If the layer has something already, or is mounted, it does nothing, and alone is false.
func (d *Driver) unpack(id string, options ApplyOptions) (alone bool, size int64, err error) {
	lock, err := d.home.LockLayer("applying a diff to", id)
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
	s, err := d.home.NewScratch("apply")
	if err != nil {
		return true, 0, err
	}
	defer func() {
		if rerr := s.Remove(); rerr != nil {
			// The next Init sweeps it.
			logrus.Warnf("aufs: removing %s: %v", s.Dir, rerr)
		}
	}()
	dir := filepath.Join(s.Dir, "root")
	if err := fsutil.MkdirWithoutACL(dir, 0o700); err != nil {
		return true, 0, err
	}
	below := func() ([]whiteout.LayerDir, error) { return d.home.LayersBelow(id) }
	size, marked, err := unpack.Into(dir, d.home.Diff(id), below, options.Diff, d.UnpackOptions(options), d.library.Extractor)
	if err != nil {
		return true, 0, err
	}
	return true, size, d.putUnpacked(id, dir, marked, s)
}

// prepareUnpack makes the layer id, which has to be empty, ready for other content. The caller holds its lock.
func (d *Driver) prepareUnpack(id string) error {
	// It has no marks, being empty, and is to have those of the archive.
	if err := d.forms.ToAufs(id); err != nil {
		return err
	}
	if err := kept.Drop(d.home, id); err != nil {
		return err
	}
	return d.home.Forget(id)
}

// putUnpacked makes the directory dir, in s, in which an archive was unpacked, that of the layer id, which has to be
// empty. The caller holds its lock. marked is what unpack.Into has returned.
func (d *Driver) putUnpacked(id, dir string, marked []string, s *store.Scratch) error {
	below, err := d.home.LayersBelow(id)
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
	// The path of a layer without parents is known to whoever has asked for it.
	if still, err := d.canUnpack(id); err != nil || !still {
		return errors.Join(err, errors.New("somebody has written to the layer while the archive was unpacked"))
	}
	// Before the layer: it does not exist without it.
	if err := kept.Place(d.home, kept.Beside(dir), id); err != nil {
		return err
	}
	if err := unpack.TakePlace(dir, d.home.Diff(id)); err != nil {
		return errors.Join(err, kept.Drop(d.home, id))
	}
	if marked != nil {
		marked = append(marked, replaced...)
	}
	d.learn(id, marked)
	return nil
}

// learn finds out about the layer id, which was just unpacked, what the first mount would have to. marked is as in putUnpacked. The caller
// holds the lock of id.
func (d *Driver) learn(id string, marked []string) {
	parents, err := d.home.Parents(id)
	if err == nil {
		_, err = d.shadows.Find(append([]string{id}, parents...), true, marked)
	}
	if err != nil {
		// It is the mount that fails, if that has the same error.
		logrus.Debugf("%v", store.LayerError("preparing", id, err))
	}
}
