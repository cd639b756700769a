//go:build linux

package kept

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// An archive can bring content that its layer does not show: a whiteout with content, a file of aufs's own, a file that
// a later entry replaces. The storage library gives the archive back byte for byte all the same: it asks for the
// content of each entry by its name, in the order of the archive. So the driver keeps what the layer does not show
// beside the layer, in kept/<id>/, one file for each content. DiffGetter reads these files.

// Drop removes what is kept for the layer id, which is going to get other content.
func Drop(h store.Home, id string) error {
	for _, a := range h.Areas() {
		if err := store.RemoveTree(a.Kept(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Place renames made, a directory whose content is durable, to the directory of what is kept for the layer id. If made
// does not exist, Place does nothing.
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

// Open opens the content that is kept for k in the directory path.
func Open(path string, k layertar.KeptName) (*os.File, error) {
	dir, err := os.OpenFile(path, fsutil.OpenDirectory, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return OpenInLayer(dir, k.File())
}

// In maps the id of each of the layers to the directory of its kept content. It leaves out layers that have none.
func In(layers []store.Layer) map[string]string {
	found, areas := map[string]string{}, map[store.Home][]store.Area{}
	for _, layer := range layers {
		in, ok := areas[layer.Home]
		if !ok {
			in = slices.DeleteFunc(layer.Home.Areas(), func(a store.Area) bool { return !store.IsThere(a.Kept("")) })
			areas[layer.Home] = in
		}
		for _, a := range in {
			if store.IsThere(a.Kept(layer.ID)) {
				found[layer.ID] = a.Kept(layer.ID)
			}
		}
	}
	return found
}

// A Keeper keeps what an archive brings and the layer will not show, while the archive is unpacked and afterwards.
type Keeper struct {
	Root string // the directory that the archive is unpacked into
	Dir  string // where content is kept; made when it is needed
	// Names is what is known of the names in the archive, or nil if nothing is known.
	Names *layertar.Names
	// Owners is for files that entries wrote through symbolic links. It maps the real name of such a file to the name
	// and number of its content in the archive. The number is 0 if the file has no content from the archive.
	Owners     map[string]layertar.KeptName
	OwnersText int // the length of all names that Owners has had
	// pending is an entry whose directory did not exist before the entry was unpacked. It is not in Owners yet.
	pending *layertar.Cut
}

// Beside returns the directory for what is kept of an archive that is unpacked into dir. Both are in one scratch
// directory.
func Beside(dir string) string { return filepath.Join(filepath.Dir(dir), store.KeptDir) }

// New returns a Keeper for an archive that is unpacked into dir.
func New(dir string, names *layertar.Names) *Keeper {
	return &Keeper{Root: dir, Dir: Beside(dir), Names: names}
}

// These limit what is remembered of files that an archive writes through symbolic links: their number, and the length
// of their names in bytes. Beyond a limit, nothing more is kept of what later entries destroy. Most files that were
// written through symbolic links are found by their names in the archive all the same.
const (
	MostOwners     = 1 << 16
	MostOwnersText = 16 << 20
)

// owner returns which content of the archive is in the file with the real name actual.
func (k *Keeper) owner(actual string) layertar.KeptName {
	if owner, ok := k.Owners[actual]; ok {
		return owner
	}
	if k.Names == nil || k.Names.GaveUp() {
		return layertar.KeptName{Name: actual, N: 1}
	}
	return layertar.KeptName{Name: actual, N: k.Names.Content(actual)}
}

// keep keeps the file name of an open directory, if it is a regular file with content from the archive.
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
	// If the link exists already, it has the right content, and name has become another file since.
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

// keepTree keeps all files in the directory at path, whose real name in the layer is actual.
func (k *Keeper) keepTree(path, actual string) error {
	return fsutil.WalkBeneath(path, func(dir *os.File, rel string, _ *unix.Stat_t) error {
		return k.keep(int(dir.Fd()), filepath.Base(rel), k.owner(filepath.Join(actual, rel)))
	})
}

// KeepHidden keeps the content of an entry of the directory dir that cannot stay in the layer.
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

// realName returns the name of an open directory, relative to the root of the tree, which is open as well.
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

// Before keeps what the entry c of the archive is about to destroy. All entries before c have been unpacked.
func (k *Keeper) Before(c *layertar.Cut) error {
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
		// Either the library makes the directory for the entry, or it cannot unpack the entry.
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

// notThere reports whether an error of placeOfEntry says that there is no such directory, or that no name can lead to
// it.
func notThere(err error) bool {
	return err != nil && (fsutil.IgnoreGone(err) == nil || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENAMETOOLONG))
}

// placeOfEntry opens the directory that an entry of this name is in, and returns the real name of the entry.
func placeOfEntry(root *os.File, name string) (parent int, actual string, err error) {
	above, base := filepath.Split(name)
	// A name without a symbolic link in it is the real name. The kernel is not asked for it, since it cannot tell one
	// that is longer than a page.
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

// ownPending calls Own for the pending entry, whose directory did not exist before it was unpacked.
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

// Own records which content the file actual has after the entry c. The archive must not be read meanwhile.
func (k *Keeper) Own(c *layertar.Cut, actual string) {
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

// Unpacked must be called when all entries have been unpacked.
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

// Finish keeps the content of files that have another name in the layer than in the archive. It also keeps an empty
// file for each entry in Names.Empty. The layer must have its final content by then.
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

// keepUnfound keeps the file actual, unless its name in the archive leads to it.
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
