//go:build linux

package aufs

import (
	"path/filepath"
)

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
