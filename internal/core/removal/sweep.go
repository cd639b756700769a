//go:build linux

package removal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Init sweeps what interrupted operations have left behind. A layer exists if its layers/<id> does. This file is written last and removed
// first, so whatever else has the name <id> while layers/<id> is missing is rubbish. Rubbish that cannot be removed does no harm: Init logs
// it, and does not fail.

// sweepAtOnce is how many scratch directories are locked at the same time. Each lock is an open file.
const sweepAtOnce = 32

// RemoveAbandoned removes the scratch directories that no live process is using, and calls failed with the error for each that it cannot
// remove. The caller must not hold the store lock: RemoveAbandoned takes it to find the directories, and does not hold it while it removes
// them.
func (r *Remover) RemoveAbandoned(ctx context.Context, failed func(error)) error {
	for _, a := range r.Home.Areas() {
		if err := r.removeAbandonedIn(ctx, a.Tmp(), failed); err != nil {
			return err
		}
	}
	return nil
}

// removeAbandonedIn is RemoveAbandoned for the scratch directories in tmp.
func (r *Remover) removeAbandonedIn(ctx context.Context, tmp string, failed func(error)) error {
	for after := ""; ; {
		batch, last, err := r.claimAfter(tmp, after)
		for _, s := range batch {
			if ctx.Err() != nil {
				// Leave the directory for the next sweep.
				s.Release()
			} else if err := s.Remove(); err != nil {
				failed(err)
			}
		}
		if err = errors.Join(err, ctx.Err()); err != nil || last == "" {
			return err
		}
		after = last
	}
}

// claimAfter locks and returns some of the scratch directories in tmp that no live process is using. It skips the names up to after, in sorted
// order. last is the name to continue after, or "" if there are no more.
func (r *Remover) claimAfter(tmp, after string) (batch []*store.Scratch, last string, err error) {
	storeLock, err := r.Home.LockStore()
	if err != nil {
		return nil, "", err
	}
	defer storeLock.Unlock()
	entries, err := os.ReadDir(tmp)
	if errors.Is(err, fs.ErrNotExist) {
		// A store that is read-only may have no tmp/.
		return nil, "", nil
	}
	if err != nil {
		return nil, "", store.OpError("sweeping", err)
	}
	for _, entry := range entries {
		if entry.Name() <= after {
			continue
		}
		if len(batch) == sweepAtOnce {
			return batch, last, nil
		}
		last = entry.Name()
		s, err := claim(filepath.Join(tmp, last), entry)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			logrus.Warn(store.OpError("sweeping", err))
		}
		if s != nil {
			batch = append(batch, s)
		}
	}
	return batch, "", nil
}

// claim locks an entry of tmp/, and returns it as a scratch directory. It returns nil if somebody else has the lock, or if the entry is no
// directory.
func claim(path string, entry fs.DirEntry) (*store.Scratch, error) {
	if strings.HasPrefix(entry.Name(), fsutil.AtomicPrefix) {
		// The entry is a leftover of WriteFileAtomic or ReplaceLink. A writer of layers/<id> that was still alive would hold the store
		// lock. ReplaceLink makes its link again if it is gone.
		return nil, os.Remove(path)
	}
	if !entry.IsDir() {
		return nil, nil //nolint:nilnil // not ours
	}
	lock, err := fsutil.TryLockDir(path)
	if err != nil || lock == nil {
		return nil, err
	}
	return &store.Scratch{Dir: path, Lock: lock}, nil
}

// SweepLayers moves what belongs to layers that do not exist to scratch directories, and returns these. The caller, who holds the store
// lock, removes them after unlocking it.
func (r *Remover) SweepLayers() ([]*store.Scratch, error) {
	ids, err := r.Strays()
	if err != nil {
		return nil, store.OpError("sweeping", err)
	}
	var rubbish []*store.Scratch
	for _, id := range ids {
		trash, err := r.moveOutUnmounted(id)
		if errors.Is(err, unix.EROFS) {
			return rubbish, nil
		}
		if err != nil {
			logrus.Warn(store.LayerError("sweeping", id, err))
		}
		if trash != nil {
			rubbish = append(rubbish, trash)
		}
	}
	return rubbish, nil
}

// SweepLayer moves what is left of the layer id, which does not exist, to a scratch directory. It returns nil if nothing is left. The
// caller holds the store lock.
func (r *Remover) SweepLayer(id string) (*store.Scratch, error) {
	for _, path := range r.Home.Belongings(id) {
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return r.moveOutUnmounted(id)
	}
	return nil, nil //nolint:nilnil // there is nothing
}

// moveOutUnmounted is moveOut after ClearMounts.
func (r *Remover) moveOutUnmounted(id string) (*store.Scratch, error) {
	if err := r.ClearMounts(id, mountutil.UnmountStacked); err != nil {
		return nil, err
	}
	return r.moveOut(id)
}

// Strays returns the names in the store's directories that belong to no layer.
func (r *Remover) Strays() ([]string, error) {
	seen := map[string]bool{}
	var ids []string
	for _, sample := range r.Home.Belongings("") {
		// For the id "", a path of Belongings is the directory of all layers.
		entries, err := os.ReadDir(sample)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			id := entry.Name()
			if seen[id] || slices.Contains(store.NeverLayers, id) {
				continue
			}
			seen[id] = true
			absent, err := r.Home.Absent(id)
			if err != nil {
				return nil, err
			}
			if absent {
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

// SweepNotes removes the notes of aufs mounts that are gone. A note stays behind if the process that mounted the layer was killed, or if
// another driver unmounted the layer.
func (r *Remover) SweepNotes() error {
	for _, dir := range r.Notes {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return store.OpError("sweeping", err)
		}
		for _, entry := range entries {
			if err := r.sweepNote(entry.Name()); err != nil && !errors.Is(err, unix.EROFS) {
				logrus.Warn(store.OpError("sweeping", err))
			}
		}
	}
	return nil
}

// sweepNote is SweepNotes for the layer id. It does nothing if somebody is working on the layer.
func (r *Remover) sweepNote(id string) error {
	if r.Home.Exists(id) {
		// Make a lock file only for a layer that exists.
		lock, err := r.Home.TryLockID(id)
		if err != nil || lock == nil {
			return err
		}
		defer lock.Unlock()
	}
	return r.Notes.Drop(id)
}
