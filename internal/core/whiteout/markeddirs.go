//go:build linux

package whiteout

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
)

// A MarkedDir is a directory of a layer in aufs form that has whiteouts, the mark of an opaque directory or files of aufs's own.
type MarkedDir struct {
	Rel   string        // from the root of the layer, which is "."
	Marks []fs.DirEntry // whose names begin with .wh.
	// Beside are the names of the files that stand beside their own whiteouts, and which aufs does not show.
	Beside []string
	st     syscall.Stat_t
}

// Opaque tells if the directory is opaque.
func (m MarkedDir) Opaque() bool { return slices.ContainsFunc(m.Marks, isOpaqueMark) }

func isOpaqueMark(entry fs.DirEntry) bool {
	return entry.Name() == OpaqueMark && entry.Type().IsRegular()
}

// Whiteouts are the names that the directory deletes.
func (m MarkedDir) Whiteouts() []string {
	var names []string
	for _, entry := range m.Marks {
		if name, ok := Of(entry.Name()); ok && entry.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names
}

// A Search looks for the marked directories of the layer at root, which is in aufs form.
type Search struct {
	Root string
	// Only are the directories that may have whiteouts, if that is known: then only they and those directly in them may be opaque. nil
	// stands for all directories.
	Only []string
	// Devices: a character device 0/0 is no error. A layer whose conversion was begun has some.
	Devices bool
}

// Find returns the marked directories, parents first. A character device 0/0 is an error: overlayfs would take it for a whiteout.
func (s Search) Find() ([]MarkedDir, error) {
	t := fsutil.Tree{Root: s.Root}
	defer t.Close()
	var found []MarkedDir
	if s.Only == nil {
		return found, s.below(&t, ".", func(m MarkedDir) { found = append(found, m) })
	}
	looked := map[string]bool{}
	add := func(m MarkedDir) { found = append(found, m) }
	var within []string
	for _, rel := range s.Only {
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
	slices.SortFunc(found, func(a, b MarkedDir) int { return ParentsFirst(a.Rel, b.Rel) })
	return found, nil
}

// ParentsFirst compares the paths of directories: each comes after the one that it is in. Some names come before ".", the root, in the order of
// bytes.
func ParentsFirst(a, b string) int {
	for i, root := range []bool{a == ".", b == "."} {
		if root && a != b {
			return 2*i - 1
		}
	}
	return strings.Compare(a, b)
}

// below finds the marked directories in rel and below it.
func (s Search) below(t *fsutil.Tree, rel string, add func(MarkedDir)) error {
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
func (s Search) in(t *fsutil.Tree, rel string, looked map[string]bool, add func(MarkedDir)) (directories []string, err error) {
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
	m := MarkedDir{Rel: rel, st: listed.St}
	for _, entry := range listed.Entries {
		if strings.HasPrefix(entry.Name(), Prefix) {
			m.Marks = append(m.Marks, entry)
		}
	}
	hidden := m.Whiteouts()
	slices.Sort(hidden)
	for _, entry := range listed.Entries {
		if err := s.refuseDevice(dir, entry); err != nil {
			return nil, err
		}
		name := entry.Name()
		if _, ok := slices.BinarySearch(hidden, name); ok {
			m.Beside = append(m.Beside, name)
		} else if entry.IsDir() && !strings.HasPrefix(name, Prefix) {
			directories = append(directories, name)
		}
	}
	if len(m.Marks) > 0 {
		add(m)
	}
	return directories, nil
}

// refuseDevice is an error if a file in a directory of a layer in aufs form is a character device 0/0.
func (s Search) refuseDevice(dir fsutil.Dir, entry fs.DirEntry) error {
	if s.Devices || entry.Type()&fs.ModeCharDevice == 0 {
		return nil
	}
	info, err := dir.Lstat(entry.Name())
	if err != nil {
		return err
	}
	if IsOverlay(info) {
		return fmt.Errorf("%s is a character device 0/0, which overlayfs takes for a whiteout: such a layer can be mounted with aufs only",
			dir.PathOf(entry.Name()))
	}
	return nil
}
