//go:build linux

package staging

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/sirupsen/logrus"
)

// purpose begins the names of staging directories.
const purpose = "staging"

// rootName is the name of the target within its staging directory.
const rootName = "root"

// A Directory is a staging directory: a scratch directory with a target in it.
type Directory struct {
	*store.Scratch
	// Target is the path of the directory that is filled.
	Target string
}

// A Registry has what one driver has staged, by targets. Each driver locks its own staging directories, so that no other driver removes them.
type Registry[T any] struct {
	// pool makes the staging directories, all in one scratch directory.
	pool store.SharedScratch
	mu   sync.Mutex // protects open
	open map[string]T
}

// New makes a staging directory in the store h. Its target does not exist yet.
func (r *Registry[T]) New(h store.Home) (Directory, error) {
	s, err := r.pool.Join(func() (*store.Scratch, error) { return h.NewScratch(purpose) })
	if err != nil {
		return Directory{}, err
	}
	return Directory{s, filepath.Join(s.Dir, rootName)}, nil
}

// Fill has fill fill the target of dir, and keeps what fill returns. After an error nothing is left of dir.
func (r *Registry[T]) Fill(dir Directory, fill func() (T, error)) error {
	filled := false
	defer func() {
		// The caller may recover from a panic of fill.
		if !filled {
			Remove(dir.Scratch)
		}
	}()
	staged, err := fill()
	if err != nil {
		return err
	}
	filled = true
	r.add(dir.Target, staged)
	return nil
}

func (r *Registry[T]) add(target string, staged T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[string]T{}
	}
	r.open[target] = staged
}

// Take returns what was staged at target, and hands it over to the caller. ok is false if there is nothing.
func (r *Registry[T]) Take(target string) (staged T, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	staged, ok = r.open[target]
	delete(r.open, target)
	return staged, ok
}

// TakeAll is Take for everything that was staged.
func (r *Registry[T]) TakeAll() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Collect(maps.Values(r.open))
	r.open = nil
	return all
}

// NotStaged says that target has nothing that this driver has staged.
func NotStaged(target string) error {
	return fmt.Errorf("this driver has staged nothing at %s: %w", target, fs.ErrNotExist)
}

// Abandoned returns the scratch directory that has target in it, and perhaps other targets, unless a live driver is using it. The
// result is nil if target is gone.
func Abandoned(h store.Home, target string) (*store.Scratch, error) {
	dir, name := filepath.Split(target)
	dir = filepath.Dir(filepath.Clean(dir))
	if name != rootName || filepath.Dir(dir) != h.BesideDiff().Tmp() || !strings.HasPrefix(filepath.Base(dir), purpose+"-") {
		return nil, fmt.Errorf("this is no staging directory of the store %s", string(h))
	}
	storeLock, err := h.LockStore()
	if err != nil {
		return nil, err
	}
	defer storeLock.Unlock()
	var lock *fsutil.Lock
	// If target is gone, the lock says nothing: a driver that has other targets in dir keeps dir locked.
	if _, err = os.Lstat(target); err == nil {
		lock, err = fsutil.TryLockDir(dir)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // it is gone
	case err != nil:
		return nil, err
	case lock == nil:
		return nil, errors.New("the directory is in use by another driver")
	}
	return &store.Scratch{Dir: dir, Lock: lock}, nil
}

// Remove removes a staging directory. The next Init sweeps what cannot be removed now.
func Remove(s *store.Scratch) {
	if err := s.Remove(); err != nil {
		logrus.Warnf("aufs: removing %s: %v", s.Dir, err)
	}
}
