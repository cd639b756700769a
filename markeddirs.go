//go:build linux

package aufs

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
)

// A markedDir is a directory of a layer in aufs form that has whiteouts, the mark of an opaque directory or files of aufs's own.
type markedDir struct {
	rel   string        // from the root of the layer, which is "."
	marks []fs.DirEntry // whose names begin with .wh.
	// beside are the names of the files that stand beside their own whiteouts, and which aufs does not show.
	beside []string
	st     syscall.Stat_t
}

// opaque tells if the directory is opaque.
func (m markedDir) opaque() bool { return slices.ContainsFunc(m.marks, isOpaqueMark) }

func isOpaqueMark(entry fs.DirEntry) bool {
	return entry.Name() == opaqueMark && entry.Type().IsRegular()
}

// whiteouts are the names that the directory deletes.
func (m markedDir) whiteouts() []string {
	var names []string
	for _, entry := range m.marks {
		if name, ok := whiteoutOf(entry.Name()); ok && entry.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names
}

// A markSearch looks for the marked directories of the layer at root, which is in aufs form.
type markSearch struct {
	root string
	// only are the directories that may have whiteouts, if that is known: then only they and those directly in them may be opaque. nil
	// stands for all directories.
	only []string
	// devices: a character device 0/0 is no error. A layer whose conversion was begun has some.
	devices bool
}

// find returns the marked directories, parents first. A character device 0/0 is an error: overlayfs would take it for a whiteout.
func (s markSearch) find() ([]markedDir, error) {
	t := fsutil.Tree{Root: s.root}
	defer t.Close()
	var found []markedDir
	if s.only == nil {
		return found, s.below(&t, ".", func(m markedDir) { found = append(found, m) })
	}
	looked := map[string]bool{}
	add := func(m markedDir) { found = append(found, m) }
	var within []string
	for _, rel := range s.only {
		below, err := s.in(&t, rel, looked, add)
		// One that the archive only implied may have gone.
		if fsutil.IgnoreGone(err) != nil {
			return nil, err
		}
		for _, name := range below {
			within = append(within, filepath.Join(rel, name))
		}
	}
	// After those that may have whiteouts: what is in one of them is not looked for if it was looked at before.
	for _, rel := range within {
		if _, err := s.in(&t, rel, looked, add); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(a, b markedDir) int { return parentsFirst(a.rel, b.rel) })
	return found, nil
}

// parentsFirst compares the paths of directories: each comes after the one that it is in. Some names come before ".", the root, in the order of
// bytes.
func parentsFirst(a, b string) int {
	for i, root := range []bool{a == ".", b == "."} {
		if root && a != b {
			return 2*i - 1
		}
	}
	return strings.Compare(a, b)
}

// below finds the marked directories in rel and below it.
func (s markSearch) below(t *fsutil.Tree, rel string, add func(markedDir)) error {
	directories, err := s.in(t, rel, nil, add)
	if err != nil {
		return err
	}
	for _, name := range directories {
		if err := s.below(t, filepath.Join(rel, name), add); err != nil {
			return err
		}
	}
	return nil
}

// in looks at one directory, unless it was looked at. It returns the names of the directories in it that the layer shows.
func (s markSearch) in(t *fsutil.Tree, rel string, looked map[string]bool, add func(markedDir)) (directories []string, err error) {
	if looked[rel] {
		return nil, nil
	}
	if looked != nil {
		looked[rel] = true
	}
	dir, err := t.Open(rel)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	listed, err := dir.Listed()
	if err != nil {
		return nil, err
	}
	m := markedDir{rel: rel, st: listed.St}
	for _, entry := range listed.Entries {
		if strings.HasPrefix(entry.Name(), whiteoutPrefix) {
			m.marks = append(m.marks, entry)
		}
	}
	hidden := m.whiteouts()
	slices.Sort(hidden)
	for _, entry := range listed.Entries {
		if err := s.refuseDevice(dir, entry); err != nil {
			return nil, err
		}
		name := entry.Name()
		if _, ok := slices.BinarySearch(hidden, name); ok {
			m.beside = append(m.beside, name)
		} else if entry.IsDir() && !strings.HasPrefix(name, whiteoutPrefix) {
			directories = append(directories, name)
		}
	}
	if len(m.marks) > 0 {
		add(m)
	}
	return directories, nil
}

// refuseDevice is an error if a file in a directory of a layer in aufs form is a character device 0/0.
func (s markSearch) refuseDevice(dir fsutil.Dir, entry fs.DirEntry) error {
	if s.devices || entry.Type()&fs.ModeCharDevice == 0 {
		return nil
	}
	info, err := dir.Lstat(entry.Name())
	if err != nil {
		return err
	}
	if isOverlayWhiteout(info) {
		return fmt.Errorf("%s is a character device 0/0, which overlayfs takes for a whiteout: such a layer can be mounted with aufs only",
			dir.PathOf(entry.Name()))
	}
	return nil
}
