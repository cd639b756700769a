//go:build linux

package aufs

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containers/storage/pkg/archive"
)

// A markedDir is a directory of a layer that has whiteouts, marks of opaque directories or files of aufs's own, or one below which
// there is such a directory. There is one for the root of the layer, or nil if there is nothing of that kind in it.
type markedDir struct {
	name  string        // in the directory above
	marks []fs.DirEntry // those that are in the directory itself
	st    syscall.Stat_t
	below []*markedDir
}

// findMarks looks for them in the layer at root. In a layer that is in aufs form, a character device 0/0 is an error: overlayfs would
// take it for a whiteout.
func findMarks(root string, f form) (*markedDir, error) {
	t := walkedTree{root: root}
	defer t.close()
	return findMarksIn(&t, ".", f)
}

func findMarksIn(t *walkedTree, rel string, f form) (*markedDir, error) {
	found, directories, err := findMarksOf(t, rel, f)
	if err != nil {
		return nil, err
	}
	for _, name := range directories {
		below, err := findMarksIn(t, filepath.Join(rel, name), f)
		if err != nil {
			return nil, err
		}
		if below != nil {
			found.below = append(found.below, below)
		}
	}
	if len(found.marks) == 0 && len(found.below) == 0 {
		return nil, nil //nolint:nilnil // nothing was found
	}
	return found, nil
}

// findMarksOf is findMarksIn without what is below; directories are the names of those that are.
func findMarksOf(t *walkedTree, rel string, f form) (found *markedDir, directories []string, err error) {
	dir, err := t.open(rel)
	if err != nil {
		return nil, nil, err
	}
	defer dir.close()
	listed, err := dir.listed()
	if err != nil {
		return nil, nil, err
	}
	found = &markedDir{name: filepath.Base(rel), st: listed.st}
	for _, entry := range listed.entries {
		name := entry.Name()
		if strings.HasPrefix(name, archive.WhiteoutPrefix) {
			found.marks = append(found.marks, entry)
		}
		switch {
		case rel == "." && isOwnFile(name):
		case entry.IsDir():
			directories = append(directories, name)
		case f == aufsForm:
			if err := refuseDevice(dir, entry); err != nil {
				return nil, nil, err
			}
		}
	}
	return found, directories, nil
}

// refuseDevice is an error if a file in a directory of a layer in aufs form is a character device 0/0.
func refuseDevice(dir openedDir, entry fs.DirEntry) error {
	if entry.Type()&fs.ModeCharDevice == 0 {
		return nil
	}
	info, err := dir.lstat(entry.Name())
	if err != nil {
		return err
	}
	if isOverlayWhiteout(info) {
		return fmt.Errorf("%s is a character device 0/0, which overlayfs takes for a whiteout: such a layer can be mounted with aufs only",
			dir.pathOf(entry.Name()))
	}
	return nil
}

// each is eachDir for the directories that have marks, in the layer at root, of which m was found, and has not changed since. The
// entries are those that are marks.
func (m *markedDir) each(root string, visit visitDir) error {
	if m == nil {
		return nil
	}
	t := walkedTree{root: root}
	defer t.close()
	return m.eachIn(&t, ".", visit)
}

func (m *markedDir) eachIn(t *walkedTree, rel string, visit visitDir) error {
	if len(m.marks) > 0 {
		if err := t.visitListed(rel, listedDir{m.marks, m.st}, visit); err != nil {
			return err
		}
	}
	for _, below := range m.below {
		if err := below.eachIn(t, filepath.Join(rel, below.name), visit); err != nil {
			return err
		}
	}
	return nil
}
