//go:build linux

package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// Make makes the missing directories of a store, and returns those that it made.
func Make(h Home) (made []string, err error) {
	for dir := string(h); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
			break
		}
		made = append([]string{dir}, made...)
	}
	if err := os.MkdirAll(string(h), 0o700); err != nil {
		return made, err
	}
	// Do this first: otherwise everything that is made in home would inherit the default ACL.
	if err := fsutil.DropDefaultACL(string(h)); err != nil {
		return made, err
	}
	for _, dir := range []string{h.Layers(""), h.Diff(""), h.Mnt(""), h.Tmp(), h.Overlay()} {
		err := os.Mkdir(dir, 0o700)
		switch {
		case err == nil:
			made = append(made, dir)
		case HasNoRoom(err) && (dir == h.Tmp() || dir == h.Overlay()):
			// A store on a full or read-only disk can still be read.
		case !errors.Is(err, fs.ErrExist):
			return made, err
		}
	}
	if err := errors.Join(h.RealDirectories(), h.RightMounts()); err != nil {
		return made, err
	}
	beside, err := h.MakeBeside()
	made = append(made, beside...)
	if err != nil {
		return made, err
	}
	for _, dir := range h.OwnDirectories() {
		// An earlier version let these directories inherit a default ACL.
		if err := fsutil.DropDefaultACL(dir); err != nil {
			return made, err
		}
	}
	return made, h.CloseOverlay()
}

// Unmake removes the directories that Make made. It leaves those that are not empty: somebody has begun to use them.
func Unmake(h Home, made []string) {
	if slices.Contains(made, h.Overlay()) {
		for _, name := range []string{MountsLock, StoreLock} {
			// Whoever waits for this lock checks afterwards that the file is still there.
			lock, err := fsutil.OrNil(fsutil.LockPath(h.Overlay(name), fsutil.OpenLockFile&^os.O_CREATE, unix.LOCK_EX|unix.LOCK_NB))
			if err == nil && lock != nil {
				_ = os.Remove(h.Overlay(name))
				lock.Unlock()
			}
		}
	}
	for i := len(made) - 1; i >= 0; i-- {
		_ = os.Remove(made[i])
	}
}
