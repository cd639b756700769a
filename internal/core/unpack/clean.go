//go:build linux

package unpack

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// Finish goes once through what an archive has brought, and turns it into what a layer may have in it. It returns the
// size in bytes, counted as a layer's disk usage is.
func Finish(root string, ids *idmap.Mappings, k *kept.Keeper) (size int64, err error) {
	acls := layertar.NewACLsToHost(ids)
	sizes := fsutil.Sizes{}
	err = whiteout.EachDir(root, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
		changed, err := cleanWhiteouts(dir, entries, k)
		if err != nil {
			return changed, err
		}
		if err := addFiles(dir, entries, &sizes); err != nil {
			return changed, err
		}
		return changed, cleanXattrs(dir, entries, acls)
	})
	return sizes.Sum, err
}

// FinishMarked is Finish for an archive that is known to need nothing but a look at the directories marked, which have
// whiteouts.
func FinishMarked(root string, marked []string, k *kept.Keeper) error {
	t := fsutil.Tree{Root: root}
	defer t.Close()
	for _, rel := range marked {
		_, err := t.Visit(rel, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
			return cleanWhiteouts(dir, entries, k)
		})
		// A directory that the archive only implied may be gone.
		if fsutil.IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// cleanXattrs removes overlayfs's own attributes from a directory and the files in it. They are not content, and an
// archive must not bring any. cleanXattrs also maps the owners in access control lists.
func cleanXattrs(dir fsutil.Dir, entries []fs.DirEntry, acls layertar.ACLsToHost) error {
	names := []string{"."}
	for _, entry := range entries {
		if !entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	for _, name := range names {
		err := whiteout.StripXattrs(dir, name, whiteout.OverlayTrusted, whiteout.OverlayUser)
		if err == nil {
			err = acls.File(dir, name)
		}
		// Some of the whiteouts are gone by now.
		if fsutil.IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// cleanWhiteouts turns the whiteouts that an archive has brought in a directory into those of a layer.
func cleanWhiteouts(dir fsutil.Dir, entries []fs.DirEntry, k *kept.Keeper) (changed bool, err error) {
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

// cleanWhiteout handles an entry whose name begins with .wh. It removes the entry if that name has no meaning in a
// layer, and otherwise makes it an empty regular file.
func cleanWhiteout(dir fsutil.Dir, entry fs.DirEntry, k *kept.Keeper) (changed bool, err error) {
	name := entry.Name()
	if !strings.HasPrefix(name, whiteout.Prefix) {
		return false, nil
	}
	if _, ok := whiteout.Of(name); whiteout.IsOwnFile(name) || !ok && name != whiteout.OpaqueMark {
		// Archives of old drivers have aufs's own files in them. A whiteout of "." or ".." deletes nothing.
		if err := k.KeepHidden(dir, entry); err != nil {
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
	// Only the name of a whiteout counts, as in the library's overlay driver. In a layer in overlay form, a whiteout
	// with content would count as an ordinary file.
	if err := k.KeepHidden(dir, entry); err != nil {
		return false, err
	}
	if err := dir.RemoveAll(name); err != nil {
		return false, err
	}
	return true, whiteout.MakeMark(dir, name)
}

// resolveReplacements removes the whiteouts of names that the archive both deletes and brings. In OCI, the new file
// takes the place of the one in the layers below, but in aufs the whiteout would hide the new file as well. A file
// hides what is below it without a whiteout. A directory does so if it is opaque, so resolveReplacements makes it
// opaque.
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

// MarkReplaced makes opaque each directory that takes the place of a file, in the directory rel of the layer at root
// and below it. It returns these directories. If such a directory were not opaque, aufs would look below the file for
// more directories of that name, and show what the file has hidden.
func MarkReplaced(root, rel string, below []whiteout.LayerDir) (replaced []string, err error) {
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
			more, err = MarkReplaced(root, path, dirs)
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

// TakePlace puts the directory made, whose content is durable, in the place of dir, and makes that durable as well.
// After that, made has what was in dir.
func TakePlace(made, dir string) error {
	err := fsutil.Exchange(made, dir)
	if errors.Is(err, unix.EINVAL) || fsutil.IsForbidden(err) {
		// Some network file systems cannot exchange directories, and some system call filters forbid it. Without the
		// exchange, an interruption would leave the layer with a part of the files.
		return moveContent(made, dir)
	}
	if err != nil {
		return err
	}
	if err := fsutil.SyncDir(filepath.Dir(dir)); err != nil {
		// It is not known what a crash would leave. Exchange the directories again, because the error tells the caller
		// that the layer has nothing.
		return errors.Join(err, fsutil.Exchange(made, dir))
	}
	return nil
}

// moveContent gives the directory dir the content and metadata of made. dir is empty except for aufs's own files.
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
