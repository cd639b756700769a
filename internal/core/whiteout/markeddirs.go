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

// A MarkedDir is a directory of a layer in aufs form that has whiteouts, an opaque mark or files of aufs's own.
type MarkedDir struct {
	Rel   string        // its path in the layer, whose root is "."
	Marks []fs.DirEntry // the entries whose names begin with .wh.
	// Beside are the names of files that stand beside their own whiteouts. Aufs does not show such files.
	Beside []string
	st     syscall.Stat_t
}

// Opaque reports whether the directory is opaque.
func (m MarkedDir) Opaque() bool { return slices.ContainsFunc(m.Marks, isOpaqueMark) }

func isOpaqueMark(entry fs.DirEntry) bool {
	return entry.Name() == OpaqueMark && entry.Type().IsRegular()
}

// Whiteouts returns the names that the directory deletes.
func (m MarkedDir) Whiteouts() []string {
	var names []string
	for _, entry := range m.Marks {
		if name, ok := Of(entry.Name()); ok && entry.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names
}

// A Search looks for the marked directories of the layer at Root, which is in aufs form.
type Search struct {
	Root string
	// Only are the directories that may have whiteouts, if they are known. In that case, only these directories and their direct
	// subdirectories may be opaque. nil stands for all directories.
	Only []string
	// Devices says that a character device 0/0 is no error. A layer whose conversion was begun has some.
	Devices bool
	// All says that Find also looks into directories that aufs does not show, as ToAufsForm does: those that stand beside their own whiteouts,
	// and those whose names begin with .wh. It leaves out those that ToOverlayForm removes.
	All bool
}

// Find returns the marked directories, parents first. A character device 0/0 is an error, unless Devices is set: overlayfs would take it
// for a whiteout.
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
		// A directory that the archive only implied may be gone.
		if fsutil.IgnoreGone(err) != nil {
			return nil, err
		}
		for _, name := range below {
			within = append(within, filepath.Join(rel, name))
		}
	}
	// Look into these last. A directory can be both in Only and in within. If it were looked into here first, the loop above would not get
	// its subdirectories.
	for _, rel := range within {
		if _, err := s.in(&t, rel, looked, add); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(a, b MarkedDir) int { return ParentsFirst(a.Rel, b.Rel) })
	return found, nil
}

// ParentsFirst compares the paths of two directories so that a sort puts each directory after its parent. A comparison of bytes would put
// some names before the root, ".".
func ParentsFirst(a, b string) int {
	for i, root := range []bool{a == ".", b == "."} {
		if root && a != b {
			return 2*i - 1
		}
	}
	return strings.Compare(a, b)
}

// below finds the marked directories from rel downward.
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

// in looks for marks in the directory rel, or does nothing if looked has rel. It returns the names of the subdirectories to look into.
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
		_, beside := slices.BinarySearch(hidden, name)
		if beside {
			m.Beside = append(m.Beside, name)
		}
		shown := !beside && !strings.HasPrefix(name, Prefix)
		if entry.IsDir() && (shown || s.All && !isTemporary(name) && !(rel == "." && IsOwnFile(name))) {
			directories = append(directories, name)
		}
	}
	if len(m.Marks) > 0 {
		add(m)
	}
	return directories, nil
}

// refuseDevice returns an error if the file is a character device 0/0, unless Devices is set.
func (s Search) refuseDevice(dir fsutil.Dir, entry fs.DirEntry) error {
	if s.Devices || entry.Type()&fs.ModeCharDevice == 0 {
		return nil
	}
	info, err := dir.Lstat(entry.Name())
	if err != nil {
		return err
	}
	if IsOverlay(info) {
		return fmt.Errorf("%s is a character device 0/0, which overlayfs takes for a whiteout; only the aufs backend can mount this layer",
			dir.PathOf(entry.Name()))
	}
	return nil
}
