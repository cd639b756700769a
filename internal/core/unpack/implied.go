//go:build linux

package unpack

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// An archive implies a directory that has no entry of its own, but is in the paths of other entries. The library makes
// such a directory like any other. The image specification only says what entries mean, and what whiteouts do to the
// layers below. So an implied directory
//
//   - keeps the owner, mode, times and attributes of the directory that the layers below show, if there is one;
//   - otherwise is new, has the mode impliedMode, and belongs to root;
//   - is removed if it is new and holds nothing but whiteouts.

// impliedMode is the mode of a new implied directory, for which nothing says what it should be.
const impliedMode = 0o755

// ImpliedDirs are the implied directories of an archive that was unpacked in tree.
type ImpliedDirs struct {
	tree fsutil.Tree
	// keeper knows the names in the archive, and keeps what is in the directories that are removed.
	keeper    *kept.Keeper
	Below     []DirBelow
	belowText int // the length of the names in Below, and a constant for each
}

// mostImpliedText limits the length, in bytes, of the names of all directories that keep the metadata of the layers
// below: a short archive can name many.
const mostImpliedText = 64 << 20

// ErrManyImplied says that an archive exceeds mostImpliedText, which limits the memory that it takes.
var ErrManyImplied = fmt.Errorf("the archive lacks entries for directories in which it changes files of layers below, and their names have more than %d MB",
	mostImpliedText>>20)

// A DirBelow is a directory that the archive only implies, and a layer below shows.
type DirBelow struct {
	Rel   string
	layer whiteout.LayerDir
}

// settleImplied handles the implied directories of an archive that was unpacked in dir, for a layer on top of those
// that layersBelow returns. It removes the new directories that hold nothing but whiteouts, and gives the other implied
// directories the mode of a new one, without access control lists. It reads the whiteouts as they are in the archive,
// so it comes before they are cleaned. It returns the directories that are to keep their metadata.
func settleImplied(layersBelow func() ([]whiteout.LayerDir, error), dir string, k *kept.Keeper) ([]DirBelow, error) {
	if !k.Names.Implies || k.Names.Unnamed {
		return nil, nil
	}
	below, err := layersBelow()
	if err != nil {
		return nil, err
	}
	i := ImpliedDirs{tree: fsutil.Tree{Root: dir}, keeper: k}
	defer i.tree.Close()
	_, err = i.settle(".", below)
	return i.Below, err
}

// restoreImplied gives the directories implied, in dir, the metadata that the layers below show. That metadata is
// already this host's, so restoreImplied comes after everything that is done to the files of an archive.
func restoreImplied(dir string, implied []DirBelow) error {
	for _, i := range implied {
		if err := whiteout.CopyMetadataBeneath(i.layer.Root, i.Rel, i.layer.Form, dir); err != nil {
			return err
		}
	}
	return nil
}

// settle is settleImplied for the directory rel and the directories in it. below are the layers below that have rel as
// well. It reports whether rel is an entry of the layer; if not, rel is to be removed.
func (i *ImpliedDirs) settle(rel string, below []whiteout.LayerDir) (isEntry bool, err error) {
	listed, err := i.list(rel)
	if err != nil {
		return false, err
	}
	under, err := dirsUnder(rel, listed, below)
	if err != nil {
		return false, err
	}
	var nothing []string
	holds, marks := false, false
	for _, entry := range listed {
		name := entry.Name()
		stays := true
		switch {
		case strings.HasPrefix(name, whiteout.Prefix):
			marks = true
			continue
		case entry.IsDir():
			if stays, err = i.settle(filepath.Join(rel, name), under(name)); err != nil {
				return false, err
			}
		}
		if stays {
			holds = true
		} else {
			nothing = append(nothing, name)
		}
	}
	if err := i.remove(rel, nothing); err != nil {
		return false, err
	}
	if rel == "." || !i.keeper.Names.Implied("/"+rel) {
		return true, nil
	}
	// An empty directory without whiteouts stays: perhaps something could not be made in it, such as a device in a user
	// namespace.
	if len(below) == 0 && !holds && (marks || len(nothing) > 0) {
		return false, nil
	}
	if len(below) > 0 {
		if err := i.KeepsMetadata(DirBelow{Rel: rel, layer: below[0]}); err != nil {
			return false, err
		}
	}
	return true, i.makeNew(rel)
}

// KeepsMetadata records a directory that keeps its metadata.
func (i *ImpliedDirs) KeepsMetadata(b DirBelow) error {
	const entry = 64
	if i.belowText += len(b.Rel) + entry; i.belowText > mostImpliedText {
		return ErrManyImplied
	}
	i.Below = append(i.Below, b)
	return nil
}

// dirsUnder returns a function that returns the layers below that have a directory of some name in rel. It leaves out
// the layers whose directory is hidden by whiteouts among the entries of rel, or in other layers below.
func dirsUnder(rel string, entries []fs.DirEntry, below []whiteout.LayerDir) (func(name string) []whiteout.LayerDir, error) {
	hidden := map[string]bool{}
	for _, entry := range entries {
		if entry.Name() == whiteout.OpaqueMark {
			below = nil
		}
		if name, ok := whiteout.Of(entry.Name()); ok {
			hidden[name] = true
		}
	}
	before, err := whiteout.ReadMerged(below, rel, nil)
	return func(name string) []whiteout.LayerDir {
		if hidden[name] {
			return nil
		}
		return before.Dirs(name)
	}, err
}

// remove removes the directories names in rel, which hold nothing but whiteouts.
func (i *ImpliedDirs) remove(rel string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	removed := make(map[string]bool, len(names))
	for _, name := range names {
		removed[name] = true
	}
	_, err := i.tree.Visit(rel, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
		for _, entry := range entries {
			if !removed[entry.Name()] {
				continue
			}
			// A whiteout in the directory may have content.
			if err := i.keeper.KeepHidden(dir, entry); err != nil {
				return true, err
			}
			if err := dir.RemoveAll(entry.Name()); err != nil {
				return true, err
			}
		}
		return true, nil
	})
	return err
}

// makeNew gives the directory rel the mode of a new one, and removes its access control lists. The library has already
// made root the owner.
func (i *ImpliedDirs) makeNew(rel string) error {
	dir, err := i.tree.Open(rel)
	if err != nil {
		return err
	}
	defer dir.Close()
	// The directory may have got lists from a default list of its parent.
	if err := dir.RemoveACLs("."); err != nil {
		return err
	}
	return dir.Failed("chmod", ".", unix.Fchmod(dir.Fd, impliedMode))
}

// list returns the entries of the directory rel.
func (i *ImpliedDirs) list(rel string) ([]fs.DirEntry, error) {
	dir, err := i.tree.Open(rel)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.List()
}
