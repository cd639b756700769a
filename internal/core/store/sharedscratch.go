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

// SharedScratch gives several users a directory each inside one scratch directory, which has only one lock. A lock is an open file, of
// which a process can have few. The removal of an image of hundreds of layers would otherwise take a lock for each layer.
type SharedScratch struct {
	mu sync.Mutex // protects everything else, and what open points to
	// open is the scratch directory that new users join, or nil.
	open *openScratch
}

// openScratch is a scratch directory in which several users have a directory each.
type openScratch struct {
	pool *SharedScratch
	dir  string
	lock *fsutil.Lock
	// users counts the users that have a directory in it now. made counts all that ever had one, and numbers the directories.
	users, made int
	// syncErr is the error that syncfs(2) has returned. The kernel returns an error once for each open file, and all users share this file.
	syncErr error
}

// Join makes a directory for a new user in the open scratch directory. If none is open, newScratch makes one. Remove or Discard of the
// result deletes the user's directory. The last user's Remove or Discard also deletes the scratch directory.
func (p *SharedScratch) Join(newScratch func() (*Scratch, error)) (*Scratch, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != nil {
		s, err := p.open.newUser()
		if !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
		// Somebody has deleted the scratch directory, in spite of its lock.
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

// newUser makes a directory in the scratch directory. The caller holds the mutex.
func (o *openScratch) newUser() (*Scratch, error) {
	dir := filepath.Join(o.dir, strconv.Itoa(o.made+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	o.made++
	o.users++
	return &Scratch{Dir: dir, shared: o}, nil
}

// leave says that one of the users is done. The last user to leave removes the scratch directory. If something in it could not be removed,
// the directory stays, and the next Init sweeps it.
func (o *openScratch) leave() {
	if o.isLast() {
		_ = unix.Rmdir(o.dir)
		o.lock.Unlock()
	}
}

// isLast subtracts one user, and reports whether no user is left. If so, nobody can join the scratch directory any more.
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

// syncAll is SyncData for one of the users. After an error it fails for all users, because nobody knows whose data is lost.
func (o *openScratch) syncAll() error {
	o.pool.mu.Lock()
	defer o.pool.mu.Unlock()
	if o.syncErr == nil {
		o.syncErr = fsutil.SyncFS(o.lock.Fd, o.dir)
	}
	return o.syncErr
}
