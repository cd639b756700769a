//go:build linux

package driver

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// ApplyDiff unpacks an archive into the layer id, and returns how many bytes are in its files. It goes through a mount if the layer is
// mounted, or not empty, or if parent is not its parent. When it returns the files are on the disk.
func (d *Driver) ApplyDiff(id, parent string, options ApplyOptions) (int64, error) {
	if options.Diff == nil {
		return 0, store.LayerError("applying a diff to", id, errors.New("there is no archive"))
	}
	direct, err := d.isParent(id, parent)
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
	if err := dropKept(d.home, id); err != nil {
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
	unpack := d.UnpackOptions(options)
	// The overlay driver's way does not have it either.
	unpack.ForceMask = nil
	size, err = d.library.ApplyLayer(dir, options.Diff, unpack)
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
	size, marked, err := d.unpackInto(id, dir, options)
	if err != nil {
		return true, 0, err
	}
	return true, size, d.putUnpacked(id, dir, marked, s)
}

// unpackInto extracts the archive into a directory, which it makes one that the layer id can have. marked are the directories that have
// whiteouts, or nil if that is not known.
func (d *Driver) unpackInto(id, dir string, options ApplyOptions) (size int64, marked []string, err error) {
	// Before the archive, which may say something else.
	if err := whiteout.CopyDirMetadata(d.home.Diff(id), whiteout.AufsForm, dir); err != nil {
		return 0, nil, err
	}
	// Files of the archive have the lists that it says, and no others.
	acls, err := takeACLs(dir)
	if err != nil {
		return 0, nil, err
	}
	scan := layertar.NewScan(options.Diff)
	k := newKeeper(dir, &scan.Seen.Names)
	contents, err := scan.ContentsOnce(func() error { return unpackArchive(scan, dir, d.UnpackOptions(options), k, d.library) })
	if err == nil {
		err = k.unpacked()
	}
	if err != nil {
		return 0, nil, err
	}
	implied, err := d.settleImplied(id, dir, k)
	if err != nil {
		return 0, nil, err
	}
	if contents.Unclear || contents.Xattrs {
		size, err = finishUnpacked(dir, orNone(options.Mappings), k)
	} else {
		size, marked = contents.Size, contents.MarkedDirs()
		err = finishMarked(dir, marked, k)
	}
	if err == nil {
		err = k.finish()
	}
	if err == nil {
		err = restoreImplied(dir, implied)
	}
	if err != nil {
		return 0, nil, err
	}
	return size, marked, acls.giveBack(dir)
}

// prepareUnpack makes the layer id, which has to be empty, ready for other content. The caller holds its lock.
func (d *Driver) prepareUnpack(id string) error {
	// It has no marks, being empty, and is to have those of the archive.
	if err := d.forms.ToAufs(id); err != nil {
		return err
	}
	if err := dropKept(d.home, id); err != nil {
		return err
	}
	return d.home.Forget(id)
}

// putUnpacked makes the directory dir, in s, in which an archive was unpacked, that of the layer id, which has to be
// empty. The caller holds its lock. marked is what unpackInto has returned.
func (d *Driver) putUnpacked(id, dir string, marked []string, s *store.Scratch) error {
	below, err := d.layersBelow(id)
	if err != nil {
		return err
	}
	replaced, err := markReplacedFiles(dir, ".", below)
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
	if err := placeKept(d.home, keptBeside(dir), id); err != nil {
		return err
	}
	if err := takePlace(dir, d.home.Diff(id)); err != nil {
		return errors.Join(err, dropKept(d.home, id))
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

// finishUnpacked goes through what an archive has brought, once, makes it what a layer can have, and adds up its size, as usage does.
func finishUnpacked(root string, ids *idmap.Mappings, k *keeper) (size int64, err error) {
	acls := newACLsToHost(ids)
	sizes := sizes{}
	err = whiteout.EachDir(root, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
		changed, err := cleanWhiteouts(dir, entries, k)
		if err != nil {
			return changed, err
		}
		for _, entry := range entries {
			if entry.IsDir() || strings.HasPrefix(entry.Name(), whiteout.Prefix) {
				continue
			}
			info, err := dir.Lstat(entry.Name())
			if err != nil {
				return changed, err
			}
			sizes.add(info)
		}
		return changed, cleanXattrs(dir, entries, acls)
	})
	return sizes.sum, err
}

// finishMarked is finishUnpacked for an archive of which it is known that nothing else is to be done than to look at the
// directories marked, which have whiteouts.
func finishMarked(root string, marked []string, k *keeper) error {
	t := fsutil.Tree{Root: root}
	defer t.Close()
	for _, rel := range marked {
		_, err := t.Visit(rel, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
			return cleanWhiteouts(dir, entries, k)
		})
		// One that was only implied may have gone.
		if fsutil.IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// cleanXattrs takes overlayfs's own attributes from a directory and the files in it, for they are not content, and an archive cannot
// bring any; and maps the owners in access control lists.
func cleanXattrs(dir fsutil.Dir, entries []fs.DirEntry, acls aclsToHost) error {
	names := []string{"."}
	for _, entry := range entries {
		if !entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	for _, name := range names {
		err := whiteout.StripXattrs(dir, name, whiteout.OverlayTrusted, whiteout.OverlayUser)
		if err == nil {
			err = acls.file(dir, name)
		}
		// Some of the whiteouts are gone by now.
		if fsutil.IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// cleanWhiteouts makes the whiteouts that an archive has brought in a directory those of a layer.
func cleanWhiteouts(dir fsutil.Dir, entries []fs.DirEntry, k *keeper) (changed bool, err error) {
	found := false
	for _, entry := range entries {
		found = found || strings.HasPrefix(entry.Name(), whiteout.Prefix)
		c, err := cleanWhiteout(dir, entry, k)
		changed = changed || c
		if err != nil {
			return changed, err
		}
	}
	if !found {
		return false, nil
	}
	c, err := resolveReplacements(dir)
	return changed || c, err
}

// cleanWhiteout removes a file whose name begins with .wh. and says nothing, and makes whiteouts empty regular files.
func cleanWhiteout(dir fsutil.Dir, entry fs.DirEntry, k *keeper) (changed bool, err error) {
	name := entry.Name()
	if !strings.HasPrefix(name, whiteout.Prefix) {
		return false, nil
	}
	if _, ok := whiteout.Of(name); whiteout.IsOwnFile(name) || !ok && name != whiteout.OpaqueMark {
		// Archives of old drivers have aufs's own files; and nothing can take away ".", nor "..".
		if err := k.keepHidden(dir, entry); err != nil {
			return false, err
		}
		return true, dir.RemoveAll(name)
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return false, err
	}
	if info.Mode().IsRegular() && info.Size() == 0 && fsutil.StatOf(info).Nlink == 1 {
		return false, nil
	}
	// As the overlay driver takes it: the name says all. With content, it would be a file to whoever sees the layer in overlay form.
	if err := k.keepHidden(dir, entry); err != nil {
		return false, err
	}
	if err := dir.RemoveAll(name); err != nil {
		return false, err
	}
	return true, whiteout.MakeMark(dir, name)
}

// resolveReplacements deals with names that an archive both deletes and brings: what OCI means by it is that the new one
// takes the place of that of the layers below, but aufs would hide the new one as well. A file hides those below
// without a whiteout; a directory does when it is opaque.
func resolveReplacements(dir fsutil.Dir) (changed bool, err error) {
	again, err := dir.Open(".")
	if err != nil {
		return false, err
	}
	defer again.Close()
	entries, err := again.List()
	if err != nil {
		return false, err
	}
	present := map[string]fs.DirEntry{}
	for _, entry := range entries {
		present[entry.Name()] = entry
	}
	for _, entry := range entries {
		hidden, ok := whiteout.Of(entry.Name())
		replacement := present[hidden]
		if !ok || replacement == nil {
			continue
		}
		if replacement.IsDir() {
			if err := whiteout.MakeOpaque(dir, hidden); err != nil {
				return changed, err
			}
		}
		changed = true
		if err := dir.Remove(entry.Name()); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// markReplacedFiles makes those directories opaque, in the directory rel of the layer at root and below it, that take the
// place of a file, and returns them. Aufs looks for more directories of that name below the file, and would show what the file has hidden.
func markReplacedFiles(root, rel string, below []whiteout.LayerDir) (replaced []string, err error) {
	own, err := whiteout.ReadListing(root, rel, whiteout.AufsForm)
	if err != nil || own.Opaque || len(below) == 0 {
		return nil, err
	}
	before, err := whiteout.ReadMerged(below, rel, nil)
	if err != nil {
		return nil, err
	}
	for name, entry := range own.Entries {
		if !entry.IsDir() || !before.Shows(name) {
			continue
		}
		path := filepath.Join(rel, name)
		more := []string{path}
		if dirs := before.Dirs(name); len(dirs) > 0 {
			more, err = markReplacedFiles(root, path, dirs)
		} else {
			err = whiteout.MakeOpaqueBeneath(root, path)
		}
		if err != nil {
			return nil, err
		}
		replaced = append(replaced, more...)
	}
	return replaced, nil
}

// takePlace puts the directory made, whose content is durable, in the place of dir, and makes that durable as well. What
// was in dir is in made then.
func takePlace(made, dir string) error {
	err := fsutil.Exchange(made, dir)
	if errors.Is(err, unix.EINVAL) || fsutil.IsForbidden(err) {
		// Some network file systems cannot do that, and some filters of system calls forbid it. There what is interrupted now has a part of the files.
		return moveContent(made, dir)
	}
	if err != nil {
		return err
	}
	if err := fsutil.SyncDir(filepath.Dir(dir)); err != nil {
		// It is not known what a crash would leave, and the caller is told that there is nothing.
		return errors.Join(err, fsutil.Exchange(made, dir))
	}
	return nil
}

// moveContent makes the directory dir, which is empty but for aufs's own files, be as made is.
func moveContent(made, dir string) error {
	entries, err := os.ReadDir(made)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.Rename(filepath.Join(made, entry.Name()), filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	if err := whiteout.CopyDirMetadata(made, whiteout.AufsForm, dir); err != nil {
		return err
	}
	return fsutil.SyncDir(dir)
}
