//go:build linux

package driver

import (
	"errors"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// A heldLayer is a layer that is being read. Whoever reads it passes over files that a container deletes meanwhile, and cannot tell them
// from those that are gone because the layer is: that has to be asked at the end.
type heldLayer struct {
	home store.Home
	id   string
	// dir is the layer's directory. It stays open, so that no other one gets its inode number.
	dir *os.File
}

// hold begins to read the layer id.
func hold(h store.Home, id string) (*heldLayer, error) {
	dir, err := os.OpenFile(h.Diff(id), fsutil.OpenDirectory, 0)
	if err != nil {
		return nil, err
	}
	return &heldLayer{home: h, id: id, dir: dir}, nil
}

// errReplaced: an archive was applied to a layer while it was read, or it was removed and made again.
var errReplaced = errors.New("the layer got other content while it was read")

// still is an error if the layer is not the one any more that it was when it was held.
func (l *heldLayer) still() error {
	if absent, err := l.home.Absent(l.id); err != nil {
		return err
	} else if absent {
		return store.UnknownLayer("having read", l.id)
	}
	now, err := fsutil.LstatOf(l.home.Diff(l.id))
	if err != nil {
		return err
	}
	var held unix.Stat_t
	if err := unix.Fstat(int(l.dir.Fd()), &held); err != nil {
		return err
	}
	if held.Dev != now.Dev || held.Ino != now.Ino {
		return store.LayerError("having read", l.id, errReplaced)
	}
	return nil
}

// close says that the layer was read. The directory was only looked at.
func (l *heldLayer) close() { _ = l.dir.Close() }

// reading calls read, which reads the layer id. It is an error if the layer was removed, or replaced, meanwhile.
func reading(h store.Home, id string, read func() error) error {
	held, err := hold(h, id)
	if err != nil {
		return err
	}
	defer held.close()
	if err := read(); err != nil {
		return err
	}
	return held.still()
}
