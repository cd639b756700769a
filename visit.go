//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// A visitDir is called with a directory that is open for as long as it is visited; atRoot tells that it is that of the layer.
type visitDir func(dir openedDir, atRoot bool, entries []fs.DirEntry) (changed bool, err error)

// eachDir calls visit for the directory at root and each one below it, parents first, and puts the times of those that it
// changed back to what they were. It does not go into aufs's own directories at the root.
func eachDir(root string, visit visitDir) error {
	t := walkedTree{root: root}
	defer t.close()
	return eachDirBelow(&t, ".", visit)
}

func eachDirBelow(t *walkedTree, rel string, visit visitDir) error {
	entries, err := t.visit(rel, visit)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || rel == "." && isOwnFile(entry.Name()) {
			continue
		}
		// visit may have removed it.
		if err := eachDirBelow(t, filepath.Join(rel, entry.Name()), visit); ignoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// visit calls visit for one directory, and returns what was in it.
func (t *walkedTree) visit(rel string, visit visitDir) ([]fs.DirEntry, error) {
	dir, err := t.open(rel)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	listed, err := dir.listed()
	if err != nil {
		return nil, err
	}
	return listed.entries, keepTimesOf(dir, &listed.st, func() (bool, error) { return visit(dir, rel == ".", listed.entries) })
}

// keepTimes calls change and, if that changed the directory dir, restores its times of access and modification.
func keepTimes(dir openedDir, change func() (bool, error)) error {
	st, err := dir.stat()
	if err != nil {
		return err
	}
	return keepTimesOf(dir, &st, change)
}

// keepTimesOf is keepTimes for a directory that has the times in st.
func keepTimesOf(dir openedDir, st *syscall.Stat_t, change func() (bool, error)) error {
	changed, err := change()
	if changed {
		err = errors.Join(err, dir.setTimes(st))
	}
	return err
}
