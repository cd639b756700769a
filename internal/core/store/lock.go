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

// Locks are flock(2) on directories and files of the store. They hold between processes, between Driver values of one process and
// between goroutines alike, and the kernel drops those of a process that dies.
//
//   - The store lock, on overlay/store.lock: the set of layers. Taken by what adds to it, removes from it and sweeps; never for
//     longer than a handful of renames.
//   - A layer's lock, on overlay/lock/<id>: the mount of the layer, and the form that its directory is in. A holder may
//     take the locks of ancestors, nearest first, and the store lock after it; never that of a descendant. It is not on
//     diff/<id>, which containers get to see, and could lock.
//   - The lock of mounts, on overlay/mounts.lock: see private.go.
//   - A scratch directory's lock, on tmp/<name>: its owner is alive, and the sweep passes it by.
//
// Whoever can open a file can lock it, and never give it back. So all of these can be opened by the store's owner alone: overlay/ has
// the mode 0700, as scratch directories have, and the files in it 0600.

// StoreLock and MountsLock are the files in overlay/ that these two locks are on.
const (
	StoreLock  = "store.lock"
	MountsLock = "mounts.lock"
)

// LockStore takes the store lock.
func (h Home) LockStore() (*fsutil.Lock, error) {
	lock, err := h.FlockFile(h.Overlay(StoreLock), h.Layers(""), unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("aufs: taking the lock of the store: %w", err)
	}
	return lock, nil
}

// FlockFile waits for the lock on a file in overlay/, which is made if it is not there. A store that is read-only, or full, may have none: the
// lock is on what is named by instead then.
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

// makeInOverlay makes overlay/, and dir, which is that or in it. It makes no home where somebody has removed it.
func (h Home) makeInOverlay(dir string) error {
	for _, dir := range []string{h.Overlay(), dir} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// flockInstead is FlockFile where no file can be made, or opened to be written to. Where there is nothing that the store's owner alone can open,
// the result is no lock: in a read-only store, what it would protect cannot change, and two who mount a layer at the same time mount it twice.
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

// Closed tells if path is there, and only its owner can open it: by its own mode, or by that of a directory around it that is home, or in
// home.
func (h Home) Closed(path string) bool {
	for bits := uint32(0o044); ; bits = 0o011 {
		st, err := fsutil.LstatOf(path)
		if err != nil {
			return false
		}
		if st.Mode&bits == 0 {
			return true
		}
		// What is above home, as home/.. is, can be reached by other ways.
		if path == string(h) || !mountutil.IsBelow(filepath.Clean(path), string(h)) {
			return false
		}
		path = filepath.Dir(path)
	}
}

// LockID waits for the lock of the layer id, whether there is such a layer or not.
func (h Home) LockID(id string) (*fsutil.Lock, error) {
	return h.flockID(id, unix.LOCK_EX)
}

// TryLockID is LockID for one who will not wait: the result is nil if someone else has the lock.
func (h Home) TryLockID(id string) (*fsutil.Lock, error) {
	return fsutil.OrNil(h.flockID(id, unix.LOCK_EX|unix.LOCK_NB))
}

func (h Home) flockID(id string, how int) (*fsutil.Lock, error) {
	return h.FlockFile(h.Overlay(LockDirName, id), h.Layers(id), how)
}

// LockLayer takes the lock of the layer id, which has to be in the store with its directory.
func (h Home) LockLayer(op, id string) (*fsutil.Lock, error) {
	return h.LockLayerAnd(op, id, func() error {
		if !h.Exists(id) {
			return UnknownLayer(op, id)
		}
		return nil
	})
}

// LockLayerAnd is LockLayer for one who reads the layer's file: the error of read matches ErrLayerUnknown if it is not
// there.
func (h Home) LockLayerAnd(op, id string, read func() error) (*fsutil.Lock, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	// Only what exists is given a file for its lock.
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
	// It may have been removed in the time of the wait.
	if err := read(); err != nil {
		lock.Unlock()
		if errors.Is(err, ErrLayerUnknown) {
			err = UnknownLayer(op, id)
		}
		return nil, err
	}
	if err := fsutil.RealDirectory(h.Diff(id)); err != nil {
		lock.Unlock()
		return nil, LayerError(op, id, err)
	}
	return lock, nil
}

// Scratch is a directory of one's own in a tmp/, for things that are not yet, or no longer, part of the store.
type Scratch struct {
	Dir  string
	Lock *fsutil.Lock
	// shared is the scratch directory that this one is in, if others have some there as well. That has the lock then.
	shared *openScratch
}

// NewScratch makes a scratch directory beside diff. The store lock must not be held by the caller.
func (h Home) NewScratch(purpose string) (*Scratch, error) {
	return h.newScratchOf(h.BesideDiff(), purpose)
}

// newScratchOf is NewScratch in an area.
func (h Home) newScratchOf(a Area, purpose string) (*Scratch, error) {
	locked, err := h.LockStore()
	if err != nil {
		return nil, err
	}
	defer locked.Unlock()
	return a.NewScratchLocked(purpose)
}

// NewScratchLocked is NewScratch for a holder of the store lock. That lock keeps the sweep from taking the directory
// for rubbish before it is locked.
func (a Area) NewScratchLocked(purpose string) (*Scratch, error) {
	s, err := NewScratchIn(a.Tmp(), purpose)
	if errors.Is(err, fs.ErrNotExist) {
		// Nobody has made it yet: the store was read-only, or this is in diff.
		if err = os.MkdirAll(a.Tmp(), 0o700); err == nil {
			s, err = NewScratchIn(a.Tmp(), purpose)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("aufs: making a scratch directory: %w", err)
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

// Release says that its user is done with the scratch directory. What is left in it is swept by the next Init. It may be called again.
func (s *Scratch) Release() {
	if shared := s.shared; shared != nil {
		s.shared = nil
		shared.leave()
	}
	s.Lock.Unlock()
}

// SyncData has all on the disk that was written to the file system of the scratch directory.
func (s *Scratch) SyncData() error {
	if s.shared != nil {
		return s.shared.syncAll()
	}
	return fsutil.SyncFS(s.Lock.Fd, s.Dir)
}

// Discard is Remove for a scratch directory in which nothing is mounted, for sure.
func (s *Scratch) Discard() error {
	defer s.Release()
	return fsutil.RemoveAll(s.Dir)
}

// Remove deletes the scratch directory with all that is in it. Mounts in it, and on it, are unmounted; if one cannot be, all
// stays. It may be called again.
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

// RemoveTree deletes dir and what is in it. It refuses if anything is mounted there: the files of a mount are not those of
// the directory. A container may have done its worst to keep its files from being removed.
func RemoveTree(dir string) error {
	mounts, err := mountutil.MountsUnder(dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("not removing %s: %s is mounted in it", dir, mounts[0].Mountpoint)
	}
	if mounted, err := mountutil.IsMounted(dir); err != nil || mounted {
		return errors.Join(err, fmt.Errorf("not removing %s: it is a mount point", dir))
	}
	return fsutil.RemoveFiles(dir)
}

// HasNoRoom tells if nothing can be written, which says nothing of the kernel.
func HasNoRoom(err error) bool {
	return errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
