//go:build linux

package layerdiff

import (
	"sync"

	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// A lower looks at one path in a layer's ancestors. dirs are those whose directories the layer's parent shows together there, nearest first. shown
// reports whether the parent shows anything there.
type lower func() (dirs []whiteout.LayerDir, shown bool, err error)

// lowerRoot is the lower of a layer's root directory. below returns the layer's ancestors, nearest first.
func lowerRoot(below func() ([]whiteout.LayerDir, error)) lower {
	return func() ([]whiteout.LayerDir, bool, error) {
		dirs, err := below()
		return dirs, len(dirs) > 0, err
	}
}

// inside returns the lower of each name in the directory rel, which l is of. The ancestors' directories are read when the first of them is called.
func (l lower) inside(rel string) func(name string) lower {
	merged := sync.OnceValues(func() (m whiteout.Merged, err error) {
		dirs, _, err := l()
		if err == nil {
			m, err = whiteout.ReadMerged(dirs, rel, nil)
		}
		return m, err
	})
	return func(name string) lower {
		return func() ([]whiteout.LayerDir, bool, error) {
			m, err := merged()
			return m.Dirs(name), m.Shows(name), err
		}
	}
}
