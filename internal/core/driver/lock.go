//go:build linux

package driver

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

// storeLock and mountsLock are the files in overlay/ that these two locks are on.
const (
	storeLock  = "store.lock"
	mountsLock = "mounts.lock"
)

// lockStore takes the store lock.
func (h home) lockStore() (*fsutil.Lock, error) {
	lock, err := h.flockFile(h.overlay(storeLock), h.layers(""), unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("aufs: taking the lock of the store: %w", err)
	}
	return lock, nil
}

// flockFile waits for the lock on a file in overlay/, which is made if it is not there. A store that is read-only, or full, may have none: the
// lock is on what is named by instead then.
func (h home) flockFile(path, instead string, how int) (*fsutil.Lock, error) {
	lock, err := fsutil.LockPath(path, fsutil.OpenLockFile, how)
	if errors.Is(err, fs.ErrNotExist) {
		if err = h.makeInOverlay(filepath.Dir(path)); err == nil {
			lock, err = fsutil.LockPath(path, fsutil.OpenLockFile, how)
		}
	}
	if hasNoRoom(err) {
		return h.flockInstead(path, instead, how)
	}
	return lock, err
}

// makeInOverlay makes overlay/, and dir, which is that or in it. It makes no home where somebody has removed it.
func (h home) makeInOverlay(dir string) error {
	for _, dir := range []string{h.overlay(), dir} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// flockInstead is flockFile where no file can be made, or opened to be written to. Where there is nothing that the store's owner alone can open,
// the result is no lock: in a read-only store, what it would protect cannot change, and two who mount a layer at the same time mount it twice.
func (h home) flockInstead(path, instead string, how int) (*fsutil.Lock, error) {
	for _, path := range []string{path, instead} {
		if !h.closed(path) {
			continue
		}
		lock, err := fsutil.LockPath(path, os.O_RDONLY|unix.O_NOFOLLOW, how)
		if !errors.Is(err, fs.ErrNotExist) {
			return lock, err
		}
	}
	return &fsutil.Lock{Fd: -1}, nil
}

// closed tells if path is there, and only its owner can open it: by its own mode, or by that of a directory around it that is home, or in
// home.
func (h home) closed(path string) bool {
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

// lockID waits for the lock of the layer id, whether there is such a layer or not.
func (h home) lockID(id string) (*fsutil.Lock, error) {
	return h.flockID(id, unix.LOCK_EX)
}

// tryLockID is lockID for one who will not wait: the result is nil if someone else has the lock.
func (h home) tryLockID(id string) (*fsutil.Lock, error) {
	return fsutil.OrNil(h.flockID(id, unix.LOCK_EX|unix.LOCK_NB))
}

func (h home) flockID(id string, how int) (*fsutil.Lock, error) {
	return h.flockFile(h.overlay(lockDirName, id), h.layers(id), how)
}

// lockLayer takes the lock of the layer id, which has to be in the store with its directory.
func (h home) lockLayer(op, id string) (*fsutil.Lock, error) {
	return h.lockLayerAnd(op, id, func() error {
		if !h.exists(id) {
			return unknownLayer(op, id)
		}
		return nil
	})
}

// lockLayerAnd is lockLayer for one who reads the layer's file: the error of read matches ErrLayerUnknown if it is not
// there.
func (h home) lockLayerAnd(op, id string, read func() error) (*fsutil.Lock, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	// Only what exists is given a file for its lock.
	lock, err := fsutil.LockPath(h.overlay(lockDirName, id), fsutil.OpenLockFile&^os.O_CREATE, unix.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) {
		if !h.exists(id) {
			return nil, unknownLayer(op, id)
		}
		lock, err = h.lockID(id)
	}
	if hasNoRoom(err) {
		lock, err = h.lockID(id)
	}
	if err != nil {
		return nil, layerError(op, id, err)
	}
	// It may have been removed in the time of the wait.
	if err := read(); err != nil {
		lock.Unlock()
		if errors.Is(err, ErrLayerUnknown) {
			err = unknownLayer(op, id)
		}
		return nil, err
	}
	if err := fsutil.RealDirectory(h.diff(id)); err != nil {
		lock.Unlock()
		return nil, layerError(op, id, err)
	}
	return lock, nil
}

// scratch is a directory of one's own in a tmp/, for things that are not yet, or no longer, part of the store.
type scratch struct {
	dir  string
	lock *fsutil.Lock
	// shared is the scratch directory that this one is in, if others have some there as well. That has the lock then.
	shared *openScratch
}

// newScratch makes a scratch directory beside diff. The store lock must not be held by the caller.
func (h home) newScratch(purpose string) (*scratch, error) {
	return h.newScratchOf(h.besideDiff(), purpose)
}

// newScratchOf is newScratch in an area.
func (h home) newScratchOf(a area, purpose string) (*scratch, error) {
	store, err := h.lockStore()
	if err != nil {
		return nil, err
	}
	defer store.Unlock()
	return a.newScratchLocked(purpose)
}

// newScratchLocked is newScratch for a holder of the store lock. That lock keeps the sweep from taking the directory
// for rubbish before it is locked.
func (a area) newScratchLocked(purpose string) (*scratch, error) {
	s, err := newScratchIn(a.tmp(), purpose)
	if errors.Is(err, fs.ErrNotExist) {
		// Nobody has made it yet: the store was read-only, or this is in diff.
		if err = os.MkdirAll(a.tmp(), 0o700); err == nil {
			s, err = newScratchIn(a.tmp(), purpose)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("aufs: making a scratch directory: %w", err)
	}
	return s, nil
}

// newScratchIn makes a scratch directory in parent.
func newScratchIn(parent, purpose string) (*scratch, error) {
	dir, err := os.MkdirTemp(parent, purpose+"-")
	if err != nil {
		return nil, err
	}
	lock, err := fsutil.LockDir(dir)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &scratch{dir: dir, lock: lock}, nil
}

// release says that its user is done with the scratch directory. What is left in it is swept by the next Init. It may be called again.
func (s *scratch) release() {
	if shared := s.shared; shared != nil {
		s.shared = nil
		shared.leave()
	}
	s.lock.Unlock()
}

// syncData has all on the disk that was written to the file system of the scratch directory.
func (s *scratch) syncData() error {
	if s.shared != nil {
		return s.shared.syncAll()
	}
	return fsutil.SyncFS(s.lock.Fd, s.dir)
}

// discard is remove for a scratch directory in which nothing is mounted, for sure.
func (s *scratch) discard() error {
	defer s.release()
	return fsutil.RemoveAll(s.dir)
}

// remove deletes the scratch directory with all that is in it. Mounts in it, and on it, are unmounted; if one cannot be, all
// stays. It may be called again.
func (s *scratch) remove() error {
	defer s.release()
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	mounts, err := mountutil.MountsUnder(s.dir)
	if err != nil {
		return err
	}
	mounted, err := mountutil.IsMounted(s.dir)
	if err == nil && !mounted && len(mounts) == 0 {
		return fsutil.RemoveFiles(s.dir)
	}
	if err := mountutil.UnmountUnder(s.dir); err != nil {
		return err
	}
	if err := mountutil.UnmountStacked(s.dir); err != nil {
		return err
	}
	return removeTree(s.dir)
}
