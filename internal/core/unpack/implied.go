//go:build linux

package unpack

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// An archive implies a directory that has no entry of its own, by the paths of other entries. The library makes each of them like any
// other. The image specification only says what entries mean, and what whiteouts do to the layers below. So an implied directory
//
//   - keeps the owner, mode, times and attributes of the one that the layers below show, if there is one;
//   - is a new one otherwise, of mode impliedMode, and belongs to root;
//   - but is nothing if it is new and holds nothing but whiteouts.

// impliedMode is the mode of a directory of which nothing says what it is.
const impliedMode = 0o755

// ImpliedDirs are those of an archive that was unpacked in tree.
type ImpliedDirs struct {
	tree fsutil.Tree
	// keeper knows the names of the archive, and keeps what is in the directories that go.
	keeper    *kept.Keeper
	Below     []DirBelow
	belowText int // how long the names in it are
}

// mostImpliedText is how long the names of those directories may be together that keep the metadata of the layers below: a short archive
// can name many.
const mostImpliedText = 64 << 20

// ErrManyImplied limits the memory that an archive takes.
var ErrManyImplied = fmt.Errorf("the archive changes directories of the layers below, without entries for them, whose names have more than %d MB",
	mostImpliedText>>20)

// A DirBelow is a directory that a layer below shows, and the archive only implies.
type DirBelow struct {
	Rel   string
	layer whiteout.LayerDir
}

// settleImplied removes those directories that are nothing, and makes those that are new what they are to be, in what was unpacked in dir
// for a layer on top of those that layersBelow returns. It goes by whiteouts as they are in the archive. It returns the directories that are to
// keep their metadata.
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

// restoreImplied gives directories in dir the metadata that the layers below say. All that belongs to this host is in it: it comes after what is
// done for the files of an archive.
func restoreImplied(dir string, implied []DirBelow) error {
	for _, i := range implied {
		if err := whiteout.CopyMetadataBeneath(i.layer.Root, i.Rel, i.layer.Form, dir); err != nil {
			return err
		}
	}
	return nil
}

// settle is settleImplied for the directory rel, which those of layers below have as well, and those in it. It tells if rel is an entry
// of the layer. One that is not is to be removed.
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
	// What could not be made, as a device in a user namespace, has left its directory empty.
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

// KeepsMetadata notes a directory.
func (i *ImpliedDirs) KeepsMetadata(b DirBelow) error {
	const entry = 64
	if i.belowText += len(b.Rel) + entry; i.belowText > mostImpliedText {
		return ErrManyImplied
	}
	i.Below = append(i.Below, b)
	return nil
}

// dirsUnder returns what tells which of the layers below have the directory of some name in rel, as far as the whiteouts among the entries
// of rel, and those of layers below, do not hide it.
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

// remove removes directories in rel that hold nothing but whiteouts.
func (i *ImpliedDirs) remove(rel string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	_, err := i.tree.Visit(rel, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
		for _, entry := range entries {
			if !slices.Contains(names, entry.Name()) {
				continue
			}
			// A whiteout in it may have content.
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

// makeNew gives the directory rel what a new one has. The library has made it one of root's.
func (i *ImpliedDirs) makeNew(rel string) error {
	dir, err := i.tree.Open(rel)
	if err != nil {
		return err
	}
	defer dir.Close()
	// The directory that it is in may have a default list.
	if err := dir.RemoveACLs("."); err != nil {
		return err
	}
	return dir.Failed("chmod", ".", unix.Fchmod(dir.Fd, impliedMode))
}

// list is what there is in the directory rel.
func (i *ImpliedDirs) list(rel string) ([]fs.DirEntry, error) {
	dir, err := i.tree.Open(rel)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.List()
}
