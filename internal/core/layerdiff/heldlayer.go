//go:build linux

package layerdiff

import (
	"errors"
	"fmt"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// A Held is a layer that somebody is reading. The reader passes over files that a container deletes meanwhile. A file
// may also be missing because the layer itself is gone, so the reader must check at the end that the layer still
// exists.
type Held struct {
	store.Layer // its ID is "" for a directory that is no layer's
	// dir is the layer's directory. It stays open, so that no other directory gets its inode number.
	dir *os.File
}

// Hold opens the layer for reading.
func Hold(layer store.Layer) (*Held, error) {
	held, err := HoldDir(layer.Dir())
	if err != nil {
		return nil, err
	}
	held.Layer = layer
	return held, nil
}

// HoldDir is Hold for a directory that is no layer's, and that nobody else uses.
func HoldDir(path string) (*Held, error) {
	dir, err := os.OpenFile(path, fsutil.OpenDirectory, 0)
	if err != nil {
		return nil, err
	}
	return &Held{dir: dir}, nil
}

// ErrReplaced says that, while a layer was read, an archive was applied to it, or the layer was removed and made again.
var ErrReplaced = errors.New("the content of the layer was replaced meanwhile")

// unlessGone returns err, which reading the layer has returned. If the layer is no longer the one that was held, that is why files are missing,
// and unlessGone returns an error that says so.
func (l *Held) unlessGone(err error) error {
	if gone := l.still(); gone != nil && fsutil.IgnoreGone(err) == nil {
		return gone
	}
	return err
}

// still returns an error if the layer is no longer the one that was held.
func (l *Held) still() error {
	if l.ID == "" {
		return nil
	}
	if absent, err := l.Home.Absent(l.ID); err != nil {
		return err
	} else if absent {
		return fmt.Errorf("%w: the layer was removed meanwhile", store.ErrLayerUnknown)
	}
	now, err := fsutil.LstatOf(l.Dir())
	if err != nil {
		return err
	}
	var held unix.Stat_t
	if err := unix.Fstat(int(l.dir.Fd()), &held); err != nil {
		return err
	}
	if held.Dev != now.Dev || held.Ino != now.Ino {
		return ErrReplaced
	}
	return nil
}

// failed says that an operation on the layer, or on the directory that is no layer's, failed.
func (l *Held) failed(op string, err error) error {
	if l.ID == "" {
		return store.OpError(op+" "+l.dir.Name(), err)
	}
	return store.LayerError(op, l.ID, err)
}

// close ends the reading of the layer. The error does not matter, because the directory was only read.
func (l *Held) close() { _ = l.dir.Close() }

// Reading calls read, which reads the layer. It returns an error if the layer was removed or replaced meanwhile.
func Reading(layer store.Layer, read func() error) error {
	held, err := Hold(layer)
	if err != nil {
		return err
	}
	defer held.close()
	return held.unlessGone(read())
}
