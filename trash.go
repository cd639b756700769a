//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What is removed goes to a trash directory first, by renames, and is deleted when no lock is held any more. A trash directory
// has the name and the lock that the storage library's own recovery goes by (internal/tempdir of v1.59.1): tmp/temp-dir-<n> is
// in use as long as a process has a lock of fcntl(2) on tmp/lock-<n>. If that is not so the library deletes both, when it
// next reads its list of layers. The sweep of this driver goes by a flock(2) on the same file, which it removes with the
// directory. They may be at work at once: what is in there is to be deleted.

const (
	trashPrefix     = "temp-dir-"
	trashLockPrefix = "lock-"
	// leftTrashPrefix begins the names of trash that could not be deleted. The library does not know it: it would not
	// open the store for what it cannot delete.
	leftTrashPrefix = "trash-"
)

// newTrashLocked makes a trash directory. The caller holds the store lock, which keeps the sweep from taking it for rubbish
// before it is locked.
func (h home) newTrashLocked() (*scratch, error) {
	f, err := h.createTemp(trashLockPrefix)
	if err != nil {
		return nil, err
	}
	lock := &pathLock{f: f}
	s := &scratch{dir: trashOf(f.Name()), lock: lock, lockFile: f.Name()}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET})
	}
	if err == nil {
		err = os.Mkdir(s.dir, 0o700)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(s.lockFile))
		lock.unlock()
		return nil, err
	}
	return s, nil
}

// createTemp is os.CreateTemp in tmp/, which it makes if it is not there: Init cannot in a store that is read-only.
func (h home) createTemp(prefix string) (*os.File, error) {
	f, err := os.CreateTemp(h.tmp(), prefix)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(h.tmp(), 0o700); err == nil {
			f, err = os.CreateTemp(h.tmp(), prefix)
		}
	}
	return f, err
}

// trashOf is the trash directory that a lock file is for.
func trashOf(lockFile string) string {
	dir, name := filepath.Split(lockFile)
	return filepath.Join(dir, trashPrefix+strings.TrimPrefix(name, trashLockPrefix))
}

// lockOfTrash is the inverse of trashOf. A lock file is its own.
func lockOfTrash(path string) string {
	dir, name := filepath.Split(path)
	if number, ok := strings.CutPrefix(name, trashPrefix); ok {
		name = trashLockPrefix + number
	}
	return filepath.Join(dir, name)
}

// leave gives up a trash directory that cannot be deleted. The next Init tries again.
func (s *scratch) leave() {
	if s.lockFile == "" {
		return
	}
	// If this fails the library tries to delete it, and says what is in its way.
	if leaveTrash(s.dir) == nil {
		_ = os.Remove(s.lockFile) // without its directory it is swept as well
	}
}

// leaveTrash takes a trash directory out of the library's sight.
func leaveTrash(trash string) error {
	dir, name := filepath.Split(trash)
	return os.Rename(trash, filepath.Join(dir, leftTrashPrefix+strings.TrimPrefix(name, trashPrefix)))
}

// isTrash tells if an entry of tmp/ is a trash directory, or the lock file of one.
func isTrash(name string) bool {
	return strings.HasPrefix(name, trashPrefix) || strings.HasPrefix(name, trashLockPrefix)
}

// idleTrash takes the lock of path, a trash directory or its lock file; it is nil if a process has it, which is about to
// delete both. The caller holds the store lock.
func idleTrash(path string) (*pathLock, error) {
	return orNil(flockPath(lockOfTrash(path), openLockFile, unix.LOCK_EX|unix.LOCK_NB))
}

// tryLockScratch takes the lock of an entry of tmp/, and makes none; it is nil if a process has it.
func tryLockScratch(path string) (*pathLock, error) {
	if isTrash(filepath.Base(path)) {
		return orNil(flockPath(lockOfTrash(path), os.O_RDONLY|unix.O_NOFOLLOW, unix.LOCK_EX|unix.LOCK_NB))
	}
	return tryLockDir(path)
}

// claimTrash takes over path, a trash directory or its lock file, if nobody has the lock of it; else it is nil, and so it is
// where there is nothing but a lock file. The caller holds the store lock.
func claimTrash(path string) (*scratch, error) {
	lock, err := idleTrash(path)
	if err != nil || lock == nil {
		return nil, err
	}
	lockFile := lock.f.Name()
	s := &scratch{dir: trashOf(lockFile), lock: lock, lockFile: lockFile}
	if _, err := os.Lstat(s.dir); err != nil {
		err = errors.Join(ignoreGone(err), os.Remove(lockFile))
		lock.unlock()
		return nil, err
	}
	return s, nil
}
