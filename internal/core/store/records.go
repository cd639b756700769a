//go:build linux

package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// WriteRecord writes the file id in the directory dir of overlay/, wholly and durably, or not at all. The error matches fs.ErrNotExist if
// there is no layer of that id.
func (h Home) WriteRecord(dir, id string, content []byte) error {
	// Under this lock, nobody removes the layer, or sweeps a file that is about to get its name.
	storeLock, err := h.LockStore()
	if err != nil {
		return err
	}
	defer storeLock.Unlock()
	if !h.Exists(id) {
		return fs.ErrNotExist
	}
	path := h.Overlay(dir)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if err := fsutil.WriteFileAtomic(path, filepath.Join(path, id), content); err != nil {
		return err
	}
	return errors.Join(fsutil.SyncDir(filepath.Dir(path)), fsutil.SyncDir(string(h)))
}

// LinkRecord makes the symbolic link id to target in the directory dir of overlay/. The returned sync makes durable what is in dir.
func (h Home) LinkRecord(dir, id, target string) (sync func() error, err error) {
	path := h.Overlay(dir)
	first := !IsThere(path)
	sync = func() error {
		err := fsutil.SyncDir(path)
		if err == nil && first {
			err = errors.Join(fsutil.SyncDir(h.Overlay()), fsutil.SyncDir(string(h)))
		}
		return err
	}
	return sync, LinkIn(target, path, id)
}

// ReadLink returns the target of the symbolic link path, which is a record of a layer.
func ReadLink(path string) (string, error) {
	target, err := os.Readlink(path)
	if errors.Is(err, unix.EINVAL) {
		err = damaged("%s is no symbolic link", path)
	}
	return target, err
}
