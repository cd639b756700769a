//go:build linux

package whiteout

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Aufs keeps three files at the root of its writable branch. A container on overlayfs can make what it wants under their names. Where
// that is of another type, aufs refuses the mount; a file with content, or one that has other names in the layer, becomes
// each whiteout. So what aufs cannot use gets another name, which aufs shows nowhere and takes for nothing, and nothing is lost.

const (
	// Base is the empty file that aufs links its whiteouts to.
	Base = ".wh..wh.aufs"
	// OrphanDir is the directory for files that are deleted while they are open.
	OrphanDir = ".wh..wh.orph"
)

// OwnFileNames are the names of all three.
var OwnFileNames = []string{Base, PseudoLinkDir, OrphanDir}

// HiddenMark is in the names that such files get, before something random.
const HiddenMark = ".aside-"

// LookAtOwnFiles finds those of aufs's own files that it cannot use, and the pseudo-links that mounts before have left.
func LookAtOwnFiles(root fsutil.Dir) (useless, stale []string, err error) {
	for _, name := range OwnFileNames {
		info, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		fits := info.IsDir()
		switch {
		case name == Base:
			fits = info.Mode().IsRegular() && info.Size() == 0
		case name == PseudoLinkDir && fits:
			if stale, fits, err = listPseudoLinks(root); err != nil {
				return nil, nil, err
			}
		}
		if !fits {
			useless = append(useless, name)
		}
	}
	return useless, stale, nil
}

// listPseudoLinks returns the names in the directory of pseudo-links, and if all of them are such.
func listPseudoLinks(root fsutil.Dir) (names []string, all bool, err error) {
	dir, err := root.Open(PseudoLinkDir)
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	entries, err := dir.List()
	if err != nil {
		return nil, false, err
	}
	for _, entry := range entries {
		if _, _, ok := ParsePseudoLink(entry.Name()); !ok || entry.IsDir() {
			return nil, false, nil
		}
		names = append(names, entry.Name())
	}
	return names, true, nil
}

// ParsePseudoLink reads the name of a pseudo-link.
func ParsePseudoLink(name string) (inMount, inBranch uint64, ok bool) {
	first, second, _ := strings.Cut(name, ".")
	inMount, merr := strconv.ParseUint(first, 10, 64)
	inBranch, berr := strconv.ParseUint(second, 10, 64)
	return inMount, inBranch, merr == nil && berr == nil
}

// HideOwnFile gives what a container has made under one of aufs's own names another name. The times of the root directory stay.
func HideOwnFile(root fsutil.Dir, name string) error {
	hidden := name + HiddenMark + rand.Text()
	err := fsutil.KeepTimes(root, func() (bool, error) { return true, root.RenameNew(name, root, hidden) })
	if err != nil {
		return fmt.Errorf("%s is not what aufs keeps under that name, and has to give way: %w", root.PathOf(name), err)
	}
	logrus.Warnf("aufs: %s is not what aufs keeps under that name; it is %s now, which no mount shows", root.PathOf(name), hidden)
	return nil
}

// showOwnFile gives what HideOwnFile has hidden its name again, if that is free.
func showOwnFile(root fsutil.Dir, hidden string) error {
	name, _, _ := strings.Cut(hidden, HiddenMark)
	if !slices.Contains(OwnFileNames, name) {
		return nil
	}
	err := root.RenameNew(hidden, root, name)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// DropPseudoLinks removes pseudo-links that mounts before have left, which aufs does not read again: each flush would look for their names
// in vain.
func DropPseudoLinks(root fsutil.Dir, names []string) error {
	if len(names) == 0 {
		return nil
	}
	dir, err := root.Open(PseudoLinkDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range names {
		if err := dir.Remove(name); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// DropOwnFiles removes what aufs has left at the root of a layer that it does not have mounted. What else is there under such names is somebody's
// content.
func DropOwnFiles(root fsutil.Dir) error {
	useless, stale, err := LookAtOwnFiles(root)
	if err == nil {
		err = DropPseudoLinks(root, stale)
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range OwnFileNames {
		if !slices.Contains(useless, name) {
			errs = append(errs, root.RemoveEmpty(name))
		}
	}
	return errors.Join(errs...)
}

// isRemoval tells if a name is one that aufs gives a file which it is about to remove: .wh..wh.<name>.<four digits> (au_whtmp_lkup in
// fs/aufs/whout.c).
func isRemoval(name string) bool {
	const digits = "0123456789abcdef"
	at := len(name) - 5
	return IsOwnFile(name) && at > len(MetaPrefix) && name[at] == '.' && strings.Trim(name[at+1:], digits) == ""
}

// PseudoLinkDir is where aufs keeps the pseudo-links of a writable branch, at its root.
const PseudoLinkDir = ".wh..wh.plnk"
