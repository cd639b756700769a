//go:build linux

package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// SharedScratch gives out directories in one scratch directory. The lock of a scratch directory is an open file, and a process can
// have few of those: to remove an image of hundreds of layers takes one such lock, not one for each layer.
type SharedScratch struct {
	mu sync.Mutex // protects all else, and what open points to
	// open is the scratch directory that new users join, or nil.
	open *openScratch
}

// openScratch is a scratch directory that several users have a directory in.
type openScratch struct {
	pool *SharedScratch
	dir  string
	lock *fsutil.Lock
	// users have a directory in it now; made counts all there ever were, for their names.
	users, made int
	// syncErr is what syncfs(2) has said. The kernel says it once for each open file, and all users share this one.
	syncErr error
}

// Join makes a directory in the scratch directory, which NewScratch makes if there is none. The result is gone after its remove or
// discard, and the scratch directory after that of the last user.
func (p *SharedScratch) Join(newScratch func() (*Scratch, error)) (*Scratch, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != nil {
		s, err := p.open.newUser()
		if !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
		// Somebody has deleted it, in spite of the lock.
		p.open = nil
	}
	made, err := newScratch()
	if err != nil {
		return nil, err
	}
	o := &openScratch{pool: p, dir: made.Dir, lock: made.Lock}
	s, err := o.newUser()
	if err != nil {
		return nil, errors.Join(err, made.Discard())
	}
	p.open = o
	return s, nil
}

// newUser makes a directory in the scratch directory. The caller has the mutex.
func (o *openScratch) newUser() (*Scratch, error) {
	dir := filepath.Join(o.dir, strconv.Itoa(o.made+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	o.made++
	o.users++
	return &Scratch{Dir: dir, shared: o}, nil
}

// leave says that one of the users is done. With the last one the scratch directory goes, unless something in it could not be
// removed: that is swept by the next Init.
func (o *openScratch) leave() {
	if o.isLast() {
		_ = unix.Rmdir(o.dir)
		o.lock.Unlock()
	}
}

// isLast counts one user less, and tells if there is none left. Nobody joins them any more then.
func (o *openScratch) isLast() bool {
	o.pool.mu.Lock()
	defer o.pool.mu.Unlock()
	o.users--
	if o.users > 0 {
		return false
	}
	if o.pool.open == o {
		o.pool.open = nil
	}
	return true
}

// syncAll is SyncData for one of the users. After an error it is not known whose data is lost.
func (o *openScratch) syncAll() error {
	o.pool.mu.Lock()
	defer o.pool.mu.Unlock()
	if o.syncErr == nil {
		o.syncErr = fsutil.SyncFS(o.lock.Fd, o.dir)
	}
	return o.syncErr
}
