//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// pathLock is an open file or directory with a flock on it.
type pathLock struct {
	fd int
	// abandoned gives it back if its owner forgets to, and it with him.
	abandoned runtime.Cleanup
}

// openLockFile are the flags to open, or make, a file with that is nothing but a lock.
const openLockFile = os.O_RDWR | os.O_CREATE | unix.O_NOFOLLOW

// lockDir waits for the exclusive lock on a directory.
func lockDir(dir string) (*pathLock, error) {
	return flockPath(dir, openDirectory, unix.LOCK_EX)
}

// tryLockDir is lockDir for one who will not wait: the result is nil if someone else has the lock.
func tryLockDir(dir string) (*pathLock, error) {
	return orNil(flockPath(dir, openDirectory, unix.LOCK_EX|unix.LOCK_NB))
}

// orNil makes it no error that someone else has a lock.
func orNil(lock *pathLock, err error) (*pathLock, error) {
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil //nolint:nilnil // not having it is an answer, not an error
	}
	return lock, err
}

func flockPath(path string, flags, how int) (*pathLock, error) {
	// A pipe in the place of a lock's file is not waited for.
	return flockOpened(path, func() (int, error) { return unix.Open(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600) }, how)
}

// flockOpened is flockPath for what open opens.
func flockOpened(path string, open func() (int, error), how int) (*pathLock, error) {
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
func flockOnce(path string, open func() (int, error), how int) (*pathLock, error) {
	fd, err := retried(open)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	lock := &pathLock{fd: fd}
	lock.abandoned = runtime.AddCleanup(lock, func(fd int) { _ = unix.Close(fd) }, fd)
	if _, err := retried(func() (int, error) { return 0, unix.Flock(fd, how) }); err != nil {
		lock.unlock()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	var locked, named unix.Stat_t
	if err := unix.Fstat(fd, &locked); err != nil {
		lock.unlock()
		return nil, &fs.PathError{Op: "fstat", Path: path, Err: err}
	}
	if kind := locked.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		lock.unlock()
		return nil, &fs.PathError{Op: "locking", Path: path, Err: errNotRegular}
	}
	err = unix.Lstat(path, &named)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		lock.unlock()
		return nil, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if err != nil || locked.Dev != named.Dev || locked.Ino != named.Ino {
		lock.unlock()
		return nil, nil //nolint:nilnil // once more
	}
	return lock, nil
}

// unlock gives the lock back. It may be called on nil, and again.
func (l *pathLock) unlock() {
	if l != nil && l.fd >= 0 {
		// Nothing was written through it, so that closing it has no error to tell.
		l.abandoned.Stop()
		_ = unix.Close(l.fd)
		l.fd = -1
	}
}
