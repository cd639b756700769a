//go:build linux

package aufs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// What an interrupted operation leaves behind is swept by the next Init. A layer exists when its layers/<id> does: it is
// written last and removed first, so that whatever else there is of a layer without it is rubbish. Rubbish that cannot
// be removed is in nobody's way: it is told, and does not make Init fail.

// sweepAtOnce is how many scratch directories are locked at the same time to be removed: each lock is an open file.
const sweepAtOnce = 32

// removeAbandoned removes the scratch directories that no live process is using, and calls failed for each that it cannot remove. The
// store lock must not be held by the caller: it is not held for as long as that takes.
func (d *Driver) removeAbandoned(ctx context.Context, failed func(error)) error {
	for _, a := range d.home.areas() {
		if err := d.removeAbandonedIn(ctx, a.tmp(), failed); err != nil {
			return err
		}
	}
	return nil
}

// removeAbandonedIn is removeAbandoned for the scratch directories in tmp.
func (d *Driver) removeAbandonedIn(ctx context.Context, tmp string, failed func(error)) error {
	for after := ""; ; {
		batch, last, err := d.claimAfter(tmp, after)
		for _, s := range batch {
			if ctx.Err() != nil {
				// It is abandoned, as before.
				s.release()
			} else if err := s.remove(); err != nil {
				failed(err)
			}
		}
		if err = errors.Join(err, ctx.Err()); err != nil || last == "" {
			return err
		}
		after = last
	}
}

// claimAfter returns some of the scratch directories in tmp with a name after this one that no live process is using, locked. last is the name
// to go on after, or "" if there are no more.
func (d *Driver) claimAfter(tmp, after string) (batch []*scratch, last string, err error) {
	store, err := d.home.lockStore()
	if err != nil {
		return nil, "", err
	}
	defer store.unlock()
	entries, err := os.ReadDir(tmp)
	if errors.Is(err, fs.ErrNotExist) {
		// There is none in a store that is read-only.
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("aufs: sweeping: %w", err)
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
			logrus.Warnf("aufs: sweeping: %v", err)
		}
		if s != nil {
			batch = append(batch, s)
		}
	}
	return batch, "", nil
}

// claim takes over an entry of tmp/ that nobody has the lock of; it is nil if somebody has.
func claim(path string, entry fs.DirEntry) (*scratch, error) {
	if strings.HasPrefix(entry.Name(), atomicPrefix) {
		// It was to become a layers/<id>, and its writer would have the store lock.
		return nil, os.Remove(path)
	}
	if !entry.IsDir() {
		return nil, nil //nolint:nilnil // not ours
	}
	lock, err := tryLockDir(path)
	if err != nil || lock == nil {
		return nil, err
	}
	return &scratch{dir: path, lock: lock}, nil
}

// sweepLayers moves what belongs to layers that do not exist to scratch directories, which it returns: to be removed when
// the store lock, which the caller holds, is given back.
func (d *Driver) sweepLayers() ([]*scratch, error) {
	ids, err := d.strays()
	if err != nil {
		return nil, fmt.Errorf("aufs: sweeping: %w", err)
	}
	var rubbish []*scratch
	for _, id := range ids {
		trash, err := d.moveOutUnmounted(id)
		if errors.Is(err, unix.EROFS) {
			return rubbish, nil
		}
		if err != nil {
			logrus.Warnf("aufs: sweeping %s: %v", id, err)
		}
		if trash != nil {
			rubbish = append(rubbish, trash)
		}
	}
	return rubbish, nil
}

// sweepLayer moves what is left of a layer that does not exist to a scratch directory, which is nil if there is nothing.
// The caller holds the store lock.
func (d *Driver) sweepLayer(id string) (*scratch, error) {
	for _, path := range d.belongings(id) {
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return d.moveOutUnmounted(id)
	}
	return nil, nil //nolint:nilnil // there is nothing
}

// moveOutUnmounted is moveOut after what takeOut wants to be done before.
func (d *Driver) moveOutUnmounted(id string) (*scratch, error) {
	if err := d.clearMounts(id); err != nil {
		return nil, err
	}
	return d.moveOut(id)
}

// strays are the names in the directories of the store that belong to no layer.
func (d *Driver) strays() ([]string, error) {
	seen := map[string]bool{}
	var ids []string
	for _, sample := range d.belongings("") {
		// The path of what belongs to no id is the directory of all.
		entries, err := os.ReadDir(sample)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			id := entry.Name()
			if seen[id] || slices.Contains(neverLayers, id) {
				continue
			}
			seen[id] = true
			absent, err := d.home.absent(id)
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

// settleAll brings to rest what overlayfs had mounted when the host, or its process, went down, and removes what existed
// for its mounts.
func (d *Driver) settleAll(ctx context.Context) error {
	// What existed for mounts comes first, and all marks are looked at twice: a layer may be in use by a mount that is gone.
	dirs := append([]string{d.home.besideDiff().overlay(runDir)}, d.forms.notes...)
	for _, dir := range append(dirs, d.home.overlay(markDir), d.home.overlay(markDir)) {
		if err := d.settleIn(ctx, dir); err != nil {
			return err
		}
	}
	return d.sweepOld()
}

// settleTraced is settleAll for what earlier boots have left, which takes long, and can wait until a layer is used.
func (d *Driver) settleTraced(ctx context.Context) error {
	traces, err := d.forms.traces()
	if err != nil {
		return fmt.Errorf("aufs: sweeping: %w", err)
	}
	for _, dir := range traces {
		if err := d.settleIn(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// settleIn brings the layers to rest that the entries of dir are named after.
func (d *Driver) settleIn(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("aufs: sweeping: %w", err)
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		id := entry.Name()
		if !d.home.exists(id) {
			// Only what exists is given a file for its lock.
			if err := d.forms.notes.drop(id); err != nil {
				logrus.Warnf("aufs: sweeping: %v", err)
			}
			continue
		}
		if err := d.settleIdle(id); err != nil {
			logStillUnrested(fmt.Errorf("aufs: sweeping: %w", err))
		}
	}
	return nil
}

// settleIdle brings the layer id to rest, if nobody is at work on it and it is not mounted.
func (d *Driver) settleIdle(id string) error {
	lock, err := d.home.tryLockID(id)
	if err != nil || lock == nil {
		return err
	}
	defer lock.unlock()
	if !d.home.exists(id) {
		return nil
	}
	mounted, err := isMounted(d.home.mnt(id))
	if err != nil || mounted {
		return err
	}
	return d.forms.rest(id, false)
}

// oldAge is how old what was replaced has to be before it is removed: a mount that is being made of it is none yet, but
// is soon.
const oldAge = 10 * time.Minute

// sweepOld removes what was derived from layers and replaced some time ago, unless a layer is mounted: it may be using
// it.
func (d *Driver) sweepOld() error {
	mounts, err := mountsUnder(d.home.mnt(""))
	if err != nil || len(mounts) > 0 {
		return err
	}
	for _, a := range d.home.areas() {
		if err := sweepOldIn(a.overlay(oldDir)); err != nil {
			return err
		}
	}
	return nil
}

// sweepOldIn is sweepOld in one directory.
func sweepOldIn(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreGone(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && time.Since(info.ModTime()) > oldAge {
			err = removeTree(filepath.Join(dir, entry.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
