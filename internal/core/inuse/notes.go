//go:build linux

package inuse

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// An aufs mount that is gone from this mount namespace may live on in another one. So the driver notes the name that aufs gives to each
// mount, its "si". A note is the target of a symbolic link, because one call makes the link with its target, and one call removes it:
//
//	<run root>/aufs/<id>      the mounts of the layer, most often one: SI, or SI SI...
//	overlay/aufs/<id>         the same, if there is no run root
//
// The run root is a directory on a tmpfs, where the storage library counts the mounts. All who share a store share its run root. Notes in
// the store would make each unmount wait for the disk, because an unmount of aufs syncs the file system of the writable branch.
//
// Sysfs would list the branches of all mounts. But reading it while one of the mounts goes away crashes the kernel (seen on Linux 6.1 with
// aufs of 2024-07-01, in sysaufs_si_show). Looking whether sysfs has a directory for a mount is safe.

// Notes are the directories that may hold notes. A new note goes into the first one where it can be made.
type Notes []string

// NewNotes returns the directories that may hold notes of the store at h. If runRoot is "", because the caller only knows where the store
// is, NewNotes takes the run root of the last driver that opened the store with aufs.
func NewNotes(h store.Home, runRoot string) Notes {
	inStore := h.Overlay(store.AufsDir)
	if runRoot == "" {
		runRoot, _ = os.Readlink(h.Overlay(store.RunRootLink)) // an error means that there is no run root
	}
	if runRoot == "" {
		return Notes{inStore}
	}
	return Notes{filepath.Join(runRoot, filepath.Base(string(h))), inStore}
}

// RecordRunRoot records where the run root is, for NewNotes.
func RecordRunRoot(h store.Home, runRoot string) error {
	absolute, err := filepath.Abs(runRoot)
	if err != nil {
		return err
	}
	path := h.Overlay(store.RunRootLink)
	if recorded, err := os.Readlink(path); err == nil && recorded == absolute {
		return nil
	}
	return h.ReplaceLink(absolute, path)
}

// Add notes a mount of the layer id. It keeps the notes of those mounts of the layer that are still alive elsewhere. The caller holds the
// lock of id.
func (n Notes) Add(h store.Home, id, si string) error {
	err := error(nil)
	for _, dir := range n {
		if err = store.LinkIn(si, dir, id); errors.Is(err, fs.ErrExist) {
			var alive []string
			if alive, err = AliveOf(filepath.Join(dir, id)); err == nil {
				err = h.ReplaceLink(strings.Join(append(alive, si), " "), filepath.Join(dir, id))
			}
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// used reports whether a noted mount of the layer id is alive in any mount namespace.
func (n Notes) used(id string) (bool, error) {
	for _, dir := range n {
		if alive, err := AliveOf(filepath.Join(dir, id)); err != nil || len(alive) > 0 {
			return len(alive) > 0, err
		}
	}
	return false, nil
}

// alive returns the noted mounts of the layer id that are alive. If it cannot find out, it assumes that they are gone.
func (n Notes) alive(id string) (alive []string) {
	for _, dir := range n {
		noted, err := AliveOf(filepath.Join(dir, id))
		if err == nil {
			alive = append(alive, noted...)
		}
	}
	return alive
}

// Drop removes the notes of the layer id, except a note that names a mount that is alive.
func (n Notes) Drop(id string) error {
	for _, dir := range n {
		note := filepath.Join(dir, id)
		alive, err := AliveOf(note)
		if err == nil && len(alive) == 0 {
			err = unix.Unlink(note)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &fs.PathError{Op: "dropping the note", Path: note, Err: err}
		}
	}
	return nil
}

// AliveOf returns the aufs mounts that the link note names and that are alive in any mount namespace. If there is no such link, it returns none.
func AliveOf(note string) (alive []string, err error) {
	target, err := os.Readlink(note)
	if err != nil {
		return nil, fsutil.IgnoreGone(err)
	}
	for _, si := range strings.Fields(target) {
		is, err := isAlive(si)
		if err != nil {
			return nil, err
		}
		if is {
			alive = append(alive, si)
		}
	}
	return alive, nil
}

// isAlive reports whether the aufs mount with the name si is alive in any mount namespace.
func isAlive(si string) (bool, error) {
	// Only look whether the directory is there: reading it can crash the kernel, as the comment at the top says.
	_, err := os.Lstat(aufsfs.Sysfs + "/si_" + si)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if _, err := os.Lstat(aufsfs.Sysfs); err == nil {
		return false, nil
	}
	return InAnyMountinfo("aufs", "si="+si)
}
