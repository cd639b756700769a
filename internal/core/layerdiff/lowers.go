//go:build linux

package layerdiff

import (
	"sync"

	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// A lowers returns the ancestors whose directories a layer's parent shows together at one path, nearest first.
type lowers func() ([]whiteout.LayerDir, error)

// inside returns the lowers of each directory in rel, by its name. l is that of rel. The ancestors' directories are read when the first of them is
// called.
func (l lowers) inside(rel string) func(name string) lowers {
	merged := sync.OnceValues(func() (m whiteout.Merged, err error) {
		layers, err := l()
		if err == nil {
			m, err = whiteout.ReadMerged(layers, rel, nil)
		}
		return m, err
	})
	return func(name string) lowers {
		return func() ([]whiteout.LayerDir, error) {
			m, err := merged()
			return m.Dirs(name), err
		}
	}
}
