//go:build linux

package whiteout

import (
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
)

// EachDir calls visit for the directory at root and each directory below it, parents first. If visit changes a directory, EachDir restores
// the directory's times. EachDir does not enter aufs's own directories at the root.
func EachDir(root string, visit fsutil.VisitDir) error {
	t := fsutil.Tree{Root: root}
	defer t.Close()
	return eachDirBelow(&t, ".", visit)
}

func eachDirBelow(t *fsutil.Tree, rel string, visit fsutil.VisitDir) error {
	entries, err := t.Visit(rel, visit)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || rel == "." && IsOwnFile(entry.Name()) {
			continue
		}
		// visit may have removed the directory.
		if err := eachDirBelow(t, filepath.Join(rel, entry.Name()), visit); fsutil.IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}
