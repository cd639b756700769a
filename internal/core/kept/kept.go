//go:build linux

package kept

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// An archive can bring content that its layer does not show: a whiteout with content, files of aufs's own, a file that a later entry
// replaces. The storage library gives the archive back byte for byte all the same: it asks for the content of each entry by its name, in
// their order. So what the layer does not show is kept beside it, in kept/<id>/, a file for each content, and DiffGetter knows of it.

// Drop is for a layer that gets other content.
func Drop(h store.Home, id string) error {
	for _, a := range h.Areas() {
		if err := store.RemoveTree(a.Kept(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Place makes the directory made, whose content is durable, what is kept for the layer id. There need not be such a directory.
func Place(h store.Home, made, id string) error {
	if _, err := os.Lstat(made); err != nil {
		return fsutil.IgnoreGone(err)
	}
	a := h.BesideDiff()
	err := fsutil.MkdirWithoutACL(a.Kept(""), 0o700)
	if err == nil {
		err = fsutil.SyncDir(string(a))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Rename(made, a.Kept(id)); err != nil {
		return err
	}
	return fsutil.SyncDir(a.Kept(""))
}

// Open opens what is kept under a name in the directory path.
func Open(path string, k layertar.KeptName) (*os.File, error) {
	dir, err := os.OpenFile(path, fsutil.OpenDirectory, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return OpenInLayer(dir, k.File())
}

// In has, of those layers for which something is kept, the directories that it is in.
func In(h store.Home, ids []string) map[string]string {
	found := map[string]string{}
	for _, a := range h.Areas() {
		if !store.IsThere(a.Kept("")) {
			continue
		}
		for _, id := range ids {
			if store.IsThere(a.Kept(id)) {
				found[id] = a.Kept(id)
			}
		}
	}
	return found
}

// A Keeper keeps what an archive brings and the layer will not show, while the archive is unpacked and after it.
type Keeper struct {
	Root string // of what is unpacked
	Dir  string // where it is kept; made when it is needed
	// Names is what is known of the names in the archive: nil if that is nothing.
	Names *layertar.Names
	// Owners has the names that files have in the archive, by the names that they really have: of those that came by way of a symbolic
	// link. The number is 0 for what has no content of the archive's.
	Owners     map[string]layertar.KeptName
	OwnersText int // how long the names were that Owners has had
	// pending is an entry that is unpacked by now, and has no owner yet.
	pending *layertar.Shortened
}

// Beside is where it is kept what is for the directory dir, in a scratch directory.
func Beside(dir string) string { return filepath.Join(filepath.Dir(dir), store.KeptDir) }

// New is for an archive that is unpacked into dir.
func New(dir string, names *layertar.Names) *Keeper {
	return &Keeper{Root: dir, Dir: Beside(dir), Names: names}
}

// What is remembered of files that an archive writes through symbolic links: how many there are, and how long their names are. With more
// nothing is kept of what later entries destroy. Most of those files are found by their names in the archive all the same.
const (
	MostOwners     = 1 << 16
	MostOwnersText = 16 << 20
)

// owner tells which content of the archive a file has that really has this name.
func (k *Keeper) owner(actual string) layertar.KeptName {
	if owner, ok := k.Owners[actual]; ok {
		return owner
	}
	if k.Names == nil || k.Names.GaveUp() {
		return layertar.KeptName{Name: actual, N: 1}
	}
	return layertar.KeptName{Name: actual, N: k.Names.Content(actual)}
}

// keep keeps the file name of an open directory, if it is a regular file with content of the archive's.
func (k *Keeper) keep(dir int, name string, owner layertar.KeptName) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fsutil.IgnoreGone(err)
	}
	if owner.N == 0 || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0 {
		return nil
	}
	if err := k.makeDir(); err != nil {
		return err
	}
	// What is there is the one: the name went to something else after it.
	err := unix.Linkat(dir, name, unix.AT_FDCWD, filepath.Join(k.Dir, owner.File()), 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.LinkError{Op: "link", Old: owner.Name, New: filepath.Join(k.Dir, owner.File()), Err: err}
	}
	return nil
}

func (k *Keeper) makeDir() error {
	if err := fsutil.MkdirWithoutACL(k.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// keepTree keeps all files in the directory at path, which really is the directory actual of the layer.
func (k *Keeper) keepTree(path, actual string) error {
	return fsutil.WalkBeneath(path, func(dir *os.File, rel string, _ *unix.Stat_t) error {
		return k.keep(int(dir.Fd()), filepath.Base(rel), k.owner(filepath.Join(actual, rel)))
	})
}

// KeepHidden keeps what an entry of the directory dir has that cannot stay in the layer.
func (k *Keeper) KeepHidden(dir fsutil.Dir, entry fs.DirEntry) error {
	if k == nil {
		return nil
	}
	actual, err := filepath.Rel(k.Root, dir.PathOf(entry.Name()))
	if err != nil {
		return err
	}
	if entry.IsDir() {
		return k.keepTree(dir.Reach(entry.Name()), actual)
	}
	return k.keep(dir.Fd, entry.Name(), k.owner(actual))
}

// realName is the name of an open directory in the tree whose root is open.
func realName(root, dir int) (string, error) {
	var paths [2]string
	for i, fd := range []int{root, dir} {
		var err error
		if paths[i], err = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err != nil {
			return "", err
		}
	}
	return filepath.Rel(paths[0], paths[1])
}

// Before keeps what the entry c of the archive is about to destroy. All entries before it have been unpacked.
func (k *Keeper) Before(c *layertar.Shortened) error {
	root, err := os.OpenFile(k.Root, fsutil.OpenDirectory, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := k.ownPending(root); err != nil {
		return err
	}
	parent, actual, err := placeOfEntry(root, c.Name)
	if notThere(err) {
		// The directory is made for the entry, or the entry cannot be unpacked.
		k.pending = c
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	base := filepath.Base(c.Name)
	var st unix.Stat_t
	err = unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	isDir := err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case isDir && c.IsDir:
		return nil
	case isDir:
		err = k.keepTree(fmt.Sprintf("/proc/self/fd/%d/%s", parent, base), actual)
	case err == nil:
		owner := k.owner(actual)
		if _, other := k.Owners[actual]; actual == c.Name && !other {
			owner.N = c.Had
		}
		err = k.keep(parent, base, owner)
	}
	if fsutil.IgnoreGone(err) != nil {
		return err
	}
	k.Own(c, actual)
	return nil
}

// notThere tells if an error of placeOfEntry is that there is no such directory, or that nobody can name it.
func notThere(err error) bool {
	return err != nil && (fsutil.IgnoreGone(err) == nil || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENAMETOOLONG))
}

// placeOfEntry opens the directory that an entry of this name is in, and tells what the name of the entry really is.
func placeOfEntry(root *os.File, name string) (parent int, actual string, err error) {
	above, base := filepath.Split(name)
	// Without a link in it the name is what it really is, which need not be asked for: the kernel does not say one of more than a page.
	if parent, err = fsutil.PlaceWithoutLinks(int(root.Fd()), above+"."); err == nil {
		return parent, name, nil
	}
	// With the dot, a symbolic link at the end is followed as well.
	if parent, err = fsutil.PlaceInRoot(int(root.Fd()), above+"."); err != nil {
		return -1, "", err
	}
	at, err := realName(int(root.Fd()), parent)
	if err != nil {
		_ = unix.Close(parent) // it was only looked at
		return -1, "", err
	}
	return parent, filepath.Join(at, base), nil
}

// ownPending is Own for an entry whose directory was not there before it.
func (k *Keeper) ownPending(root *os.File) error {
	c := k.pending
	if c == nil {
		return nil
	}
	k.pending = nil
	parent, actual, err := placeOfEntry(root, c.Name)
	if notThere(err) {
		return nil
	}
	if err != nil {
		return err
	}
	_ = unix.Close(parent) // it was only looked at
	k.Own(c, actual)
	return nil
}

// Own notes which content the file actual has after the entry c. The archive is not read meanwhile.
func (k *Keeper) Own(c *layertar.Shortened, actual string) {
	if actual == c.Name {
		delete(k.Owners, actual)
		return
	}
	if k.Owners == nil {
		k.Owners = map[string]layertar.KeptName{}
	}
	if _, known := k.Owners[actual]; !known {
		k.OwnersText += len(actual) + len(c.Name)
	}
	k.Owners[actual] = layertar.KeptName{Name: c.Name, N: c.Brings}
	if len(k.Owners) > MostOwners || k.OwnersText > MostOwnersText {
		k.Owners, k.OwnersText = nil, 0
		k.Names.Forget()
	}
}

// Unpacked says that all entries have been unpacked.
func (k *Keeper) Unpacked() error {
	if k.pending == nil {
		return nil
	}
	root, err := os.OpenFile(k.Root, fsutil.OpenDirectory, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	return k.ownPending(root)
}

// Finish keeps what the layer, which is as it will be, has under another name than the archive, and what has no content.
func (k *Keeper) Finish() error {
	if len(k.Owners) == 0 && (k.Names == nil || len(k.Names.Empty) == 0) {
		return nil
	}
	root, err := os.OpenFile(k.Root, fsutil.OpenDirectory, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	for actual, owner := range k.Owners {
		if err := k.keepUnfound(root, actual, owner); err != nil {
			return err
		}
	}
	if k.Names == nil {
		return nil
	}
	for _, empty := range k.Names.Empty {
		if err := k.makeDir(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(k.Dir, empty.File()), nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// keepUnfound keeps the file actual unless the name that it has in the archive leads to it.
func (k *Keeper) keepUnfound(root *os.File, actual string, owner layertar.KeptName) error {
	parent, err := fsutil.PlaceInRoot(int(root.Fd()), filepath.Dir(actual))
	if err != nil {
		return fsutil.IgnoreGone(err)
	}
	defer unix.Close(parent)
	var st, found unix.Stat_t
	if err := unix.Fstatat(parent, filepath.Base(actual), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fsutil.IgnoreGone(err)
	}
	fd, err := fsutil.PlaceInRoot(int(root.Fd()), owner.Name)
	if err == nil {
		err = unix.Fstat(fd, &found)
		_ = unix.Close(fd) // it was only looked at
	}
	if err == nil && found.Dev == st.Dev && found.Ino == st.Ino {
		return nil
	}
	return k.keep(parent, filepath.Base(actual), owner)
}

// OpenInLayer opens the regular file rel of the layer whose directory is open.
func OpenInLayer(root *os.File, rel string) (*os.File, error) {
	path := filepath.Join(root.Name(), rel)
	place, err := fsutil.PlaceInRoot(int(root.Fd()), rel)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(place)
	var st syscall.Stat_t
	fd, err := fsutil.OpenKind(place, &st, unix.S_IFREG)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
