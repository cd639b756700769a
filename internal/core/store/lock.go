//go:build linux

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"golang.org/x/sys/unix"
)

// Locks are flock(2) on directories and files of the store. They hold between processes, between Driver values of one process, and between
// goroutines. The kernel drops the locks of a process that dies.
//
//   - The store lock, on overlay/store.lock, protects the set of layers. An operation takes it to add to the set, to remove from it, or to
//     sweep. No archive is unpacked under this lock. The files of removed layers are deleted after it is released, unless the disk has no
//     room for a scratch directory.
//   - A layer's lock, on overlay/lock/<id>, protects the mount of the layer, and the form of its directory. After it, a holder may take the
//     locks of ancestors, nearest first, and the store lock, but never the lock of a descendant. The lock is not on diff/<id>, because
//     containers see that directory and could lock it.
//   - The lock of mounts, on overlay/mounts.lock: see private.go.
//   - A scratch directory's lock, on tmp/<name>, says that its owner is alive. The sweep skips directories that are locked.
//
// Whoever can open a file can lock it and never unlock it. So nobody but the store's owner can open any of these files and directories:
// overlay/ and scratch directories have the mode 0700, and the files in overlay/ have the mode 0600.

// StoreLock and MountsLock are the files in overlay/ that carry the store lock and the lock of mounts.
const (
	StoreLock  = "store.lock"
	MountsLock = "mounts.lock"
)

// LockStore takes the store lock.
func (h Home) LockStore() (*fsutil.Lock, error) {
	lock, err := h.FlockFile(h.Overlay(StoreLock), h.Layers(""), unix.LOCK_EX)
	if err != nil {
		return nil, OpError("taking the lock of the store", err)
	}
	return lock, nil
}

// FlockFile locks path, a file in overlay/, as flock(2) does with how. If path is missing, FlockFile makes it. A store that is read-only or
// full may have no such file: FlockFile then locks the file that instead names, or nothing if instead is "".
func (h Home) FlockFile(path, instead string, how int) (*fsutil.Lock, error) {
	lock, err := fsutil.LockPath(path, fsutil.OpenLockFile, how)
	if errors.Is(err, fs.ErrNotExist) {
		if err = h.makeInOverlay(filepath.Dir(path)); err == nil {
			lock, err = fsutil.LockPath(path, fsutil.OpenLockFile, how)
		}
	}
	if HasNoRoom(err) {
		return h.flockInstead(path, instead, how)
	}
	return lock, err
}

// makeInOverlay makes overlay/ and dir, which is overlay/ itself or a directory below it, with the directories between the two. If somebody
// has removed home, makeInOverlay does not make it again.
func (h Home) makeInOverlay(dir string) error {
	if dir != h.Overlay() {
		if err := h.makeInOverlay(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// flockInstead is FlockFile for a file that cannot be made, or cannot be opened for writing. It tries path and then instead, and locks the
// first that exists and that only the store's owner can open. If there is none, it returns a Lock that locks nothing. In a read-only store,
// that harms no data. But if two processes mount a layer at the same time, the layer is mounted twice.
func (h Home) flockInstead(path, instead string, how int) (*fsutil.Lock, error) {
	for _, path := range []string{path, instead} {
		if !h.Closed(path) {
			continue
		}
		lock, err := fsutil.LockPath(path, os.O_RDONLY|unix.O_NOFOLLOW, how)
		if !errors.Is(err, fs.ErrNotExist) {
			return lock, err
		}
	}
	return &fsutil.Lock{Fd: -1}, nil
}

// Closed reports whether path exists and only its owner can open it. The mode of path itself ensures that, or the mode of home, or of a
// directory between the two.
func (h Home) Closed(path string) bool {
	for bits := uint32(0o044); ; bits = 0o011 {
		st, err := fsutil.LstatOf(path)
		if err != nil {
			return false
		}
		if st.Mode&bits == 0 {
			return true
		}
		// Stop at home. The modes of directories above home protect nothing: there can be other ways to home and to home/.. itself.
		if path == string(h) || !mountutil.IsBelow(filepath.Clean(path), string(h)) {
			return false
		}
		path = filepath.Dir(path)
	}
}

// LockID waits for the lock of the layer id, whether the layer exists or not.
func (h Home) LockID(id string) (*fsutil.Lock, error) {
	return h.flockID(id, unix.LOCK_EX)
}

// TryLockID is LockID without the wait: it returns nil if somebody else has the lock.
func (h Home) TryLockID(id string) (*fsutil.Lock, error) {
	return fsutil.OrNil(h.flockID(id, unix.LOCK_EX|unix.LOCK_NB))
}

func (h Home) flockID(id string, how int) (*fsutil.Lock, error) {
	return h.FlockFile(h.Overlay(LockDirName, id), h.Layers(id), how)
}

// LockLayer takes the lock of the layer id. The layer and its directory must exist.
func (h Home) LockLayer(op, id string) (*fsutil.Lock, error) {
	return h.LockLayerAnd(op, id, func() error {
		if !h.Exists(id) {
			return UnknownLayer(op, id)
		}
		return nil
	})
}

// LockLayerAnd is LockLayer for a caller that also reads the layer's file. Once it has the lock, it calls read, which reads the file. The
// error of read matches ErrLayerUnknown if the file is missing.
func (h Home) LockLayerAnd(op, id string, read func() error) (*fsutil.Lock, error) {
	if err := CheckID(id); err != nil {
		return nil, LayerError(op, id, err)
	}
	// Make a lock file only for a layer that exists.
	lock, err := fsutil.LockPath(h.Overlay(LockDirName, id), fsutil.OpenLockFile&^os.O_CREATE, unix.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) {
		if !h.Exists(id) {
			return nil, UnknownLayer(op, id)
		}
		lock, err = h.LockID(id)
	}
	if HasNoRoom(err) {
		lock, err = h.LockID(id)
	}
	if err != nil {
		return nil, LayerError(op, id, err)
	}
	// Somebody may have removed the layer during the wait.
	if err := read(); err != nil {
		lock.Unlock()
		if errors.Is(err, ErrLayerUnknown) {
			return nil, UnknownLayer(op, id)
		}
		return nil, LayerError(op, id, err)
	}
	if err := fsutil.RealDirectory(h.Diff(id)); err != nil {
		lock.Unlock()
		return nil, LayerError(op, id, err)
	}
	return lock, nil
}

// A Scratch is a directory in tmp/ that has one user. It holds files that are not yet, or no longer, part of the store.
type Scratch struct {
	Dir  string
	Lock *fsutil.Lock
	// shared is the scratch directory that contains this one, if several users share it. Then shared has the lock.
	shared *openScratch
}

// NewScratch makes a scratch directory in the area beside diff. The caller must not hold the store lock.
func (h Home) NewScratch(purpose string) (*Scratch, error) {
	return h.newScratchOf(h.BesideDiff(), purpose)
}

// newScratchOf is NewScratch for the area a.
func (h Home) newScratchOf(a Area, purpose string) (*Scratch, error) {
	storeLock, err := h.LockStore()
	if err != nil {
		return nil, err
	}
	defer storeLock.Unlock()
	return a.NewScratchLocked(purpose)
}

// NewScratchLocked is NewScratch for a caller that holds the store lock. The store lock keeps the sweep from removing the new directory
// before it is locked.
func (a Area) NewScratchLocked(purpose string) (*Scratch, error) {
	s, err := NewScratchIn(a.Tmp(), purpose)
	if errors.Is(err, fs.ErrNotExist) {
		// Nobody has made tmp/ yet: either the store was read-only, or the area is in diff.
		if err = os.MkdirAll(a.Tmp(), 0o700); err == nil {
			s, err = NewScratchIn(a.Tmp(), purpose)
		}
	}
	if err != nil {
		return nil, OpError("making a scratch directory", err)
	}
	return s, nil
}

// NewScratchIn makes a scratch directory in parent.
func NewScratchIn(parent, purpose string) (*Scratch, error) {
	dir, err := os.MkdirTemp(parent, purpose+"-")
	if err != nil {
		return nil, err
	}
	lock, err := fsutil.LockDir(dir)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &Scratch{Dir: dir, Lock: lock}, nil
}

// Release says that the user of the scratch directory is done with it. If files are left in the directory, the next Init sweeps it. Release
// may be called again.
func (s *Scratch) Release() {
	if shared := s.shared; shared != nil {
		s.shared = nil
		shared.leave()
	}
	s.Lock.Unlock()
}

// SyncData makes everything durable that was written to the file system of the scratch directory.
func (s *Scratch) SyncData() error {
	if s.shared != nil {
		return s.shared.syncAll()
	}
	return fsutil.SyncFS(s.Lock.Fd, s.Dir)
}

// Discard is Remove for a scratch directory in which certainly nothing is mounted, and no file is protected against removal.
func (s *Scratch) Discard() error {
	defer s.Release()
	return fsutil.RemoveAll(s.Dir)
}

// Remove deletes the scratch directory and everything in it. First it unmounts the mounts in the directory and on it. If it cannot unmount
// one, it deletes nothing. Remove may be called again.
func (s *Scratch) Remove() error {
	defer s.Release()
	if _, err := os.Lstat(s.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	mounts, err := mountutil.MountsUnder(s.Dir)
	if err != nil {
		return err
	}
	mounted, err := mountutil.IsMounted(s.Dir)
	if err == nil && !mounted && len(mounts) == 0 {
		return fsutil.RemoveFiles(s.Dir)
	}
	if err := mountutil.UnmountUnder(s.Dir); err != nil {
		return err
	}
	if err := mountutil.UnmountStacked(s.Dir); err != nil {
		return err
	}
	return RemoveTree(s.Dir)
}

// RemoveTree deletes dir and everything in it. If anything is mounted at dir or in it, RemoveTree deletes nothing, because the files of a
// mount do not belong to the directory. It also removes files that a container has protected against removal.
func RemoveTree(dir string) error {
	mounts, err := mountutil.MountsUnder(dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("not removing %s: %s is a mount point", dir, mounts[0].Mountpoint)
	}
	if mounted, err := mountutil.IsMounted(dir); err != nil || mounted {
		return errors.Join(err, fmt.Errorf("not removing %s, which is a mount point", dir))
	}
	return fsutil.RemoveFiles(dir)
}

// HasNoRoom reports whether err says that the file system is read-only or full, or that a quota is used up. Such an error does not mean
// that the kernel lacks a feature.
func HasNoRoom(err error) bool {
	return errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
