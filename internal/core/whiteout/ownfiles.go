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

// Aufs keeps three files at the root of its writable branch. A container on overlayfs can make anything under their names. If the
// container's file has another type, aufs refuses the mount. If it has content, or other names in the layer, each whiteout becomes that
// file. So a file that aufs cannot use gets another name, which aufs neither shows nor interprets, and nothing is lost.

const (
	// Base is the empty file that aufs links its whiteouts to.
	Base = ".wh..wh.aufs"
	// OrphanDir is the directory for files that are deleted while they are open.
	OrphanDir = ".wh..wh.orph"
)

// OwnFileNames are the names of aufs's three files.
var OwnFileNames = []string{Base, PseudoLinkDir, OrphanDir}

// HiddenInfix stands between the old name and a random end in the name of a renamed file.
const HiddenInfix = ".aside-"

// LookAtOwnFiles returns the names of aufs's own files that aufs cannot use, and of the pseudo-links that earlier mounts have left.
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

// listPseudoLinks returns the names in the directory of pseudo-links. all reports whether all of them are names of pseudo-links.
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

// HideOwnFile renames what a container has made under one of aufs's own names. The times of the root directory stay.
func HideOwnFile(root fsutil.Dir, name string) error {
	hidden := name + HiddenInfix + rand.Text()
	err := fsutil.KeepTimes(root, func() (bool, error) { return true, root.RenameNew(name, root, hidden) })
	if err != nil {
		return fmt.Errorf("renaming %s, which is in the way of a file of aufs: %w", root.PathOf(name), err)
	}
	logrus.Warnf("aufs: %s is not what aufs keeps under that name; it is %s now, which no mount shows", root.PathOf(name), hidden)
	return nil
}

// isHiddenOwnFile reports whether HideOwnFile has given a file at the root this name.
func isHiddenOwnFile(name string) bool {
	own, _, found := strings.Cut(name, HiddenInfix)
	return found && slices.Contains(OwnFileNames, own)
}

// showOwnFile gives a file that HideOwnFile has renamed its old name again, if that name is free.
func showOwnFile(root fsutil.Dir, hidden string) error {
	name, _, _ := strings.Cut(hidden, HiddenInfix)
	err := root.RenameNew(hidden, root, name)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// DropPseudoLinks removes pseudo-links that earlier mounts have left. Aufs does not read them again, and each flush would look for their
// names in vain.
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

// DropOwnFiles removes the files that aufs has left for itself at the root of a layer. Aufs must not have the layer mounted. Other files
// under such names are content, and stay.
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

// isTemporary reports whether a name is one that aufs gives a file while it copies it up, and before it removes it: .wh..wh.<name>.<four digits>
// (au_whtmp_lkup in fs/aufs/whout.c).
func isTemporary(name string) bool {
	const digits = "0123456789abcdef"
	at := len(name) - 5
	return IsOwnFile(name) && at > len(MetaPrefix) && name[at] == '.' && strings.Trim(name[at+1:], digits) == ""
}

// PseudoLinkDir is the directory, at the root of a writable branch, in which aufs keeps the branch's pseudo-links.
const PseudoLinkDir = ".wh..wh.plnk"
