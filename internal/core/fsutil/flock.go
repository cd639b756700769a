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
	// abandoned unlocks the file if the garbage collector finds the Lock before its owner has unlocked it.
	abandoned runtime.Cleanup
}

// OpenLockFile are the flags for opening a file that is nothing but a lock, and for making it if it is missing.
const OpenLockFile = os.O_RDWR | os.O_CREATE | unix.O_NOFOLLOW

// LockDir waits for the exclusive lock on a directory.
func LockDir(dir string) (*Lock, error) {
	return LockPath(dir, OpenDirectory, unix.LOCK_EX)
}

// TryLockDir is LockDir without the wait: it returns nil if somebody else has the lock.
func TryLockDir(dir string) (*Lock, error) {
	return OrNil(LockPath(dir, OpenDirectory, unix.LOCK_EX|unix.LOCK_NB))
}

// OrNil returns nil, and no error, if the error says that somebody else has the lock.
func OrNil(lock *Lock, err error) (*Lock, error) {
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil //nolint:nilnil // not having it is an answer, not an error
	}
	return lock, err
}

// LockPath opens the file path with flags, and locks it as flock(2) does with how.
func LockPath(path string, flags, how int) (*Lock, error) {
	// If a pipe is in the place of a lock file, do not wait for the pipe.
	return LockOpened(path, func() (int, error) { return unix.Open(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600) }, how)
}

// LockOpened is LockPath for a file that the function open opens.
func LockOpened(path string, open func() (int, error), how int) (*Lock, error) {
	for {
		lock, err := flockOnce(path, open, how)
		if lock != nil || err != nil {
			return lock, err
		}
	}
}

// flockOnce locks the file that has the name path now. If, during the wait, the file was deleted or replaced by another one, the lock is
// worth nothing, and flockOnce returns nil. Every operation takes locks, so flockOnce makes fewer system calls than package os would.
func flockOnce(path string, open func() (int, error), how int) (*Lock, error) {
	fd, err := Retried(open)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	lock := &Lock{Fd: fd}
	lock.abandoned = runtime.AddCleanup(lock, unlock, fd)
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
		return nil, nil //nolint:nilnil,nilerr // once more
	}
	return lock, nil
}

// Unlock releases the lock. It may be called on nil, and more than once.
func (l *Lock) Unlock() {
	if l != nil && l.Fd >= 0 {
		l.abandoned.Stop()
		unlock(l.Fd)
		l.Fd = -1
	}
}

// unlock unlocks the file fd, and closes it. A process that was cloned from this one has a copy of the descriptor for a while, and closing it here
// would not unlock the file.
func unlock(fd int) {
	// It fails only if the file is not locked.
	_ = unix.Flock(fd, unix.LOCK_UN)
	// Nothing was written through the descriptor, so closing it has no error to report.
	_ = unix.Close(fd)
}
