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

// An aufs mount may live on in another mount namespace when it is gone from this one. For each it is written down what aufs
// calls it, its "si", in the target of a symbolic link, which is made and removed in one call each:
//
//	<run root>/aufs/<id>      the mounts of the layer, most often one: SI, or SI SI...
//	overlay/aufs/<id>         the same, where there is no run root
//
// The run root is where the storage library counts the mounts, on a tmpfs: those who share a store share it. In the store a note
// would make each unmount wait for the disk, for aufs syncs the file system of its writable branch before it goes.
//
// Sysfs would tell the branches of all mounts; but to read it while one of them goes away crashes the kernel (seen on Linux 6.1
// with aufs of 2024-07-01, in sysaufs_si_show). That it has a directory for a mount can be asked.

// Notes are the directories that notes may be in, the one to be written to first.
type Notes []string

// NewNotes are those of a store that has, or does not have, a run root. Whoever is only told where the store is goes by that of the last driver
// that opened it with aufs.
func NewNotes(h store.Home, runRoot string) Notes {
	inStore := h.Overlay(store.AufsDir)
	if runRoot == "" {
		runRoot, _ = os.Readlink(h.Overlay(store.RunRootLink)) // without one there is none
	}
	if runRoot == "" {
		return Notes{inStore}
	}
	return Notes{filepath.Join(runRoot, filepath.Base(string(h))), inStore}
}

// RecordRunRoot keeps where the run root is: see NewNotes.
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

// Add notes a mount of the layer id, beside those of its mounts that are alive elsewhere. The caller holds the lock of id.
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

// used tells if one of the mounts that are noted of the layer id is alive in any mount namespace.
func (n Notes) used(id string) (bool, error) {
	for _, dir := range n {
		if alive, err := AliveOf(filepath.Join(dir, id)); err != nil || len(alive) > 0 {
			return len(alive) > 0, err
		}
	}
	return false, nil
}

// alive are the mounts that are noted of the layer id, and are alive. What cannot be told counts as gone.
func (n Notes) alive(id string) (alive []string) {
	for _, dir := range n {
		noted, err := AliveOf(filepath.Join(dir, id))
		if err == nil {
			alive = append(alive, noted...)
		}
	}
	return alive
}

// Drop removes the notes of the layer id, unless a mount that one of them names is alive.
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

// AliveOf are the aufs mounts that the link note names, and that are alive in any mount namespace: none if there is no such link.
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

// isAlive tells if the aufs mount of this name is alive in any mount namespace.
func isAlive(si string) (bool, error) {
	// What is in the directory is not read: see above.
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
