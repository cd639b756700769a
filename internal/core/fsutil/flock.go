//go:build linux

package fsutil

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Lock is an open file or directory with a flock on it.
type Lock struct {
	Fd int
	// abandoned gives it back if its owner forgets to, and it with him.
	abandoned runtime.Cleanup
}

// OpenLockFile are the flags to open, or make, a file with that is nothing but a lock.
const OpenLockFile = os.O_RDWR | os.O_CREATE | unix.O_NOFOLLOW

// LockDir waits for the exclusive lock on a directory.
func LockDir(dir string) (*Lock, error) {
	return LockPath(dir, OpenDirectory, unix.LOCK_EX)
}

// TryLockDir is LockDir for one who will not wait: the result is nil if someone else has the lock.
func TryLockDir(dir string) (*Lock, error) {
	return OrNil(LockPath(dir, OpenDirectory, unix.LOCK_EX|unix.LOCK_NB))
}

// OrNil makes it no error that someone else has a lock.
func OrNil(lock *Lock, err error) (*Lock, error) {
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil //nolint:nilnil // not having it is an answer, not an error
	}
	return lock, err
}

// LockPath locks the file path, which it opens with flags, as flock(2) does with how.
func LockPath(path string, flags, how int) (*Lock, error) {
	// A pipe in the place of a lock's file is not waited for.
	return LockOpened(path, func() (int, error) { return unix.Open(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600) }, how)
}

// LockOpened is LockPath for what open opens.
func LockOpened(path string, open func() (int, error), how int) (*Lock, error) {
	for {
		lock, err := flockOnce(path, open, how)
		if lock != nil || err != nil {
			return lock, err
		}
	}
}

// flockOnce locks what has the name path now. If the name went to something else, or to nothing, while it waited, the lock
// is worth nothing and the result is nil. It makes no call that it can do without, as package os would: every operation takes
// locks.
func flockOnce(path string, open func() (int, error), how int) (*Lock, error) {
	fd, err := Retried(open)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	lock := &Lock{Fd: fd}
	lock.abandoned = runtime.AddCleanup(lock, func(fd int) { _ = unix.Close(fd) }, fd)
	if _, err := Retried(func() (int, error) { return 0, unix.Flock(fd, how) }); err != nil {
		lock.Unlock()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	var locked, named unix.Stat_t
	if err := unix.Fstat(fd, &locked); err != nil {
		lock.Unlock()
		return nil, &fs.PathError{Op: "fstat", Path: path, Err: err}
	}
	if kind := locked.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		lock.Unlock()
		return nil, &fs.PathError{Op: "locking", Path: path, Err: ErrNotRegular}
	}
	err = unix.Lstat(path, &named)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		lock.Unlock()
		return nil, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if err != nil || locked.Dev != named.Dev || locked.Ino != named.Ino {
		lock.Unlock()
		return nil, nil //nolint:nilnil // once more
	}
	return lock, nil
}

// Unlock gives the lock back. It may be called on nil, and again.
func (l *Lock) Unlock() {
	if l != nil && l.Fd >= 0 {
		// Nothing was written through it, so that closing it has no error to tell.
		l.abandoned.Stop()
		_ = unix.Close(l.Fd)
		l.Fd = -1
	}
}
