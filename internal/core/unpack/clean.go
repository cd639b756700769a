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

// Finish goes through what an archive has brought, once, makes it what a layer can have, and adds up its size, as usage does.
func Finish(root string, ids *idmap.Mappings, k *kept.Keeper) (size int64, err error) {
	acls := layertar.NewACLsToHost(ids)
	sizes := fsutil.Sizes{}
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
			sizes.Add(info)
		}
		return changed, cleanXattrs(dir, entries, acls)
	})
	return sizes.Sum, err
}

// FinishMarked is Finish for an archive of which it is known that nothing else is to be done than to look at the
// directories marked, which have whiteouts.
func FinishMarked(root string, marked []string, k *kept.Keeper) error {
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

// cleanWhiteouts makes the whiteouts that an archive has brought in a directory those of a layer.
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

// cleanWhiteout removes a file whose name begins with .wh. and says nothing, and makes whiteouts empty regular files.
func cleanWhiteout(dir fsutil.Dir, entry fs.DirEntry, k *kept.Keeper) (changed bool, err error) {
	name := entry.Name()
	if !strings.HasPrefix(name, whiteout.Prefix) {
		return false, nil
	}
	if _, ok := whiteout.Of(name); whiteout.IsOwnFile(name) || !ok && name != whiteout.OpaqueMark {
		// Archives of old drivers have aufs's own files; and nothing can take away ".", nor "..".
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
	// As the overlay driver takes it: the name says all. With content, it would be a file to whoever sees the layer in overlay form.
	if err := k.KeepHidden(dir, entry); err != nil {
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

// MarkReplaced makes those directories opaque, in the directory rel of the layer at root and below it, that take the
// place of a file, and returns them. Aufs looks for more directories of that name below the file, and would show what the file has hidden.
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

// TakePlace puts the directory made, whose content is durable, in the place of dir, and makes that durable as well. What
// was in dir is in made then.
func TakePlace(made, dir string) error {
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
