//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Locks are flock(2) on directories of the store. They hold between processes, between Driver values of one process and
// between goroutines alike, and the kernel drops those of a process that dies.
//
//   - The store lock, on layers/: the set of layers. Taken by what adds to it, removes from it and sweeps; never for
//     longer than a handful of renames.
//   - A layer's lock, on diff/<id>: the mount of the layer, and the form that its directory is in. A holder may take
//     the locks of ancestors, nearest first, and the store lock after it; never that of a descendant.
//   - A scratch directory's lock, on tmp/<name>: its owner is alive, and the sweep passes it by.

// dirLock is an open directory with a flock on it.
type dirLock struct {
	f *os.File
}

// lockDir waits for the exclusive lock on a directory.
func lockDir(dir string) (*dirLock, error) {
	return flockDir(dir, unix.LOCK_EX)
}

// tryLockDir is lockDir for one who will not wait: the result is nil if someone else has the lock.
func tryLockDir(dir string) (*dirLock, error) {
	lock, err := flockDir(dir, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil //nolint:nilnil // not having it is an answer, not an error
	}
	return lock, err
}

func flockDir(dir string, how int) (*dirLock, error) {
	for {
		lock, err := flockOnce(dir, how)
		if lock != nil || err != nil {
			return lock, err
		}
	}
}

// flockOnce locks the directory that has the name dir now. If the name went to another directory, or to none, while it
// waited, the lock is worth nothing and the result is nil.
func flockOnce(dir string, how int) (*dirLock, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	locked, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	named, err := os.Lstat(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = f.Close()
		return nil, err
	}
	if err != nil || !os.SameFile(locked, named) {
		_ = f.Close()
		return nil, nil //nolint:nilnil // once more
	}
	return &dirLock{f: f}, nil
}

// unlock gives the lock back. It may be called on nil.
func (l *dirLock) unlock() {
	if l != nil {
		// Nothing was written through it, so that closing it has no error to tell.
		_ = l.f.Close()
	}
}

// lockStore takes the store lock.
func (h home) lockStore() (*dirLock, error) {
	lock, err := lockDir(h.layers(""))
	if err != nil {
		return nil, fmt.Errorf("aufs: taking the lock of the store: %w", err)
	}
	return lock, nil
}

// lockLayer takes the lock of the layer id, which has to be in the store.
func (h home) lockLayer(op, id string) (*dirLock, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if !h.exists(id) {
		return nil, unknownLayer(op, id)
	}
	lock, err := lockDir(h.diff(id))
	if err != nil {
		return nil, layerError(op, id, err)
	}
	// It may have been removed in the time of the wait.
	if !h.exists(id) {
		lock.unlock()
		return nil, unknownLayer(op, id)
	}
	return lock, nil
}

// scratch is a directory of one's own in tmp/, for things that are not yet, or no longer, part of the store.
type scratch struct {
	dir  string
	lock *dirLock
}

// newScratch makes a scratch directory. The store lock must not be held by the caller.
func (h home) newScratch(purpose string) (*scratch, error) {
	store, err := h.lockStore()
	if err != nil {
		return nil, err
	}
	defer store.unlock()
	return h.newScratchLocked(purpose)
}

// newScratchLocked is newScratch for a holder of the store lock. That lock keeps the sweep from taking the directory
// for rubbish before it is locked.
func (h home) newScratchLocked(purpose string) (*scratch, error) {
	dir, err := os.MkdirTemp(h.tmp(), purpose+"-")
	if err != nil {
		return nil, fmt.Errorf("aufs: making a scratch directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("aufs: making a scratch directory: %w", err), os.Remove(dir))
	}
	return &scratch{dir: dir, lock: lock}, nil
}

// remove deletes the scratch directory with all that is in it. Mounts in it are unmounted; if one cannot be, all stays.
func (s *scratch) remove() error {
	defer s.lock.unlock()
	if err := unmountUnder(s.dir); err != nil {
		return err
	}
	return removeTree(s.dir)
}
