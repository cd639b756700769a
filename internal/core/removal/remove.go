//go:build linux

package removal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// The driver's Remove takes a layer out of the store with the functions of this file. While the layer is still whole, they look for
// everything that could prevent its removal.

// A Remover removes layers from one store, and leftovers of layers that do not exist. Several goroutines may use it at the same time.
type Remover struct {
	Home  store.Home
	Notes inuse.Notes
	// trash holds the files of removed layers, until they are deleted.
	trash store.SharedScratch
}

// New returns a Remover for the store at h, whose aufs mounts are noted in notes.
func New(h store.Home, notes inuse.Notes) *Remover { return &Remover{Home: h, Notes: notes} }

// ClearMounts unmounts what is mounted at mnt/<id>, by calling unmount, and then everything inside the directories that belong to the layer id.
// It returns an error if one of these directories is itself a mount point: such a directory cannot be moved, and the files of the mount do not
// belong to the layer. Unless the mount is made meanwhile, or is hidden at mnt/<id>, nothing is unmounted then. The caller holds the lock of id,
// or, if there is no such layer, the store lock.
func (r *Remover) ClearMounts(id string, unmount func(target string) error) error {
	mounts, err := r.mountsOf(id)
	if err != nil {
		return err
	}
	belongings, target := r.Home.Belongings(id), r.Home.Mnt(id)
	for _, path := range mounts {
		if path != target && slices.Contains(belongings, path) {
			return isMountPoint(path)
		}
	}
	err = unmount(target)
	if errors.Is(err, unix.EINVAL) && slices.Contains(mounts, target) {
		// The mount is hidden, which only Linux 5.8 and newer tell before, or locked in this user namespace.
		return fmt.Errorf("%w: %w", isMountPoint(target), err)
	}
	if err != nil || len(mounts) == 0 {
		return err
	}
	if mounts, err = r.mountsOf(id); err != nil {
		return err
	}
	for _, path := range mounts {
		if slices.Contains(belongings, path) {
			return isMountPoint(path)
		}
		if err := mountutil.UnmountRetry(path); err != nil {
			return err
		}
	}
	return nil
}

func isMountPoint(path string) error {
	return fmt.Errorf("%s is a mount point, and has to be unmounted first: %w", path, unix.EBUSY)
}

// mountsOf returns the mount points among the directories that belong to the layer id, and inside them.
func (r *Remover) mountsOf(id string) ([]string, error) {
	mounts, err := mountutil.MountsUnder(string(r.Home))
	if err != nil || len(mounts) == 0 {
		return nil, err
	}
	root, err := filepath.EvalSymlinks(string(r.Home))
	if err != nil {
		return nil, err
	}
	belongings := r.Home.Belongings(id)
	var found []string
	for _, m := range mounts {
		path := string(r.Home) + strings.TrimPrefix(m.Mountpoint, root)
		if slices.ContainsFunc(belongings, func(own string) bool { return path == own || mountutil.IsBelow(path, own) }) {
			found = append(found, path)
		}
	}
	return found, nil
}

// TakeOut removes layers/<id>, so that the layer id no longer exists, and moves everything that belongs to the layer to a scratch
// directory. If the disk is too full for a scratch directory, TakeOut deletes everything at once, and trash is nil.
//
// If err is not nil, the layer still has its files. It exists if it existed before, unless layers/ could not be synced or written. If err is
// nil, the layer is gone. left then says what else belonged to the layer and could not be moved or deleted; the next Init sweeps that.
func (r *Remover) TakeOut(id string) (trash *store.Scratch, left, err error) {
	storeLock, err := r.Home.LockStore()
	if err != nil {
		return nil, nil, err
	}
	defer storeLock.Unlock()
	// Make the trash before the layer is gone: the disk may have no room for it.
	trash, err = r.NewTrash()
	if err != nil && !store.HasNoRoom(err) {
		return nil, nil, err
	}
	content, err := r.makeAbsent(id)
	if err != nil {
		if trash != nil {
			err = errors.Join(err, trash.Discard())
		}
		return nil, nil, err
	}
	if trash == nil {
		free(id, layerquota.Free(r.Home, id))
		for _, path := range r.Home.Belongings(id) {
			left = errors.Join(left, store.RemoveTree(path))
		}
		return nil, left, nil
	}
	if err := r.moveFirst(trash, id); err != nil {
		return nil, nil, errors.Join(err, r.putBack(id, content), trash.Discard())
	}
	return trash, r.moveRest(trash, id), nil
}

// makeAbsent removes layers/<id>, and returns its content, or nil if the file was not there.
func (r *Remover) makeAbsent(id string) (content []byte, err error) {
	// If the content cannot be read, there is nothing to put back. Remove the file all the same.
	content, _ = fsutil.ReadFile(r.Home.Layers(id))
	if err := os.Remove(r.Home.Layers(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Make the removal durable before the data goes: a layer that exists after a crash must have all its data. Do so even if the file was
	// gone already: whoever removed it may have been killed before this sync.
	return content, fsutil.SyncDir(r.Home.Layers(""))
}

// putBack undoes makeAbsent: it writes content to layers/<id>. It does nothing if content is nil.
func (r *Remover) putBack(id string, content []byte) error {
	if content == nil {
		return nil
	}
	if err := fsutil.WriteFileAtomic(r.Home.Tmp(), r.Home.Layers(id), content); err != nil {
		return fmt.Errorf("the layer does not exist any more, and the next start of a program with this driver deletes the files: %w", err)
	}
	return nil
}

// NewTrash makes a directory for files that are to be deleted. The caller holds the store lock.
func (r *Remover) NewTrash() (*store.Scratch, error) {
	return r.trash.Join(func() (*store.Scratch, error) { return r.Home.BesideDiff().NewScratchLocked("trash") })
}

// moveOut moves everything that belongs to the layer id, which does not exist, to a scratch directory. The caller holds the store lock, and
// nothing of the layer is mounted. If moveOut could move only some of it, it returns both the scratch directory and an error.
func (r *Remover) moveOut(id string) (trash *store.Scratch, err error) {
	if trash, err = r.NewTrash(); err != nil {
		return nil, err
	}
	// Whoever removed the layer's file may have been killed before the removal was durable.
	if err = fsutil.SyncDir(r.Home.Layers("")); err == nil {
		err = r.moveFirst(trash, id)
	}
	if err != nil {
		return nil, errors.Join(err, trash.Discard())
	}
	return trash, r.moveRest(trash, id)
}

// moveFirst removes the layer's mount point, and moves the layer's files to a scratch directory. It does both, or neither. The mount point
// comes first: if somebody has mounted there again, it cannot be removed.
func (r *Remover) moveFirst(trash *store.Scratch, id string) error {
	err := unix.Rmdir(r.Home.Mnt(id))
	// moveRest removes a mount point that is not empty.
	if fsutil.IgnoreGone(err) != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return &fs.PathError{Op: "rmdir", Path: r.Home.Mnt(id), Err: err}
	}
	quota := layerquota.Free(r.Home, id)
	err = MoveToTrash(r.Home.Diff(id), filepath.Join(trash.Dir, "diff"))
	if err == nil || errors.Is(err, unix.EXDEV) {
		// After EXDEV, the files are in another mount than trash: moveRest deletes them.
		free(id, quota)
		return nil
	}
	return errors.Join(err, RestoreMountPoint(r.Home, id))
}

// free calls the function that layerquota.Free has returned for the layer id.
func free(id string, quota func() error) {
	if err := quota(); err != nil {
		logrus.Warn(store.LayerError("removing the quota of", id, err))
	}
}

// moveRest moves everything else that belongs to the layer. It deletes single files at once, and also directories that are in another mount
// than the scratch directory. Such directories are small, or are from before diff became a mount point. The error names everything that is
// left.
func (r *Remover) moveRest(trash *store.Scratch, id string) error {
	var errs []error
	for i, path := range r.Home.Belongings(id) {
		if unix.Unlink(path) == nil {
			continue
		}
		err := MoveToTrash(path, filepath.Join(trash.Dir, strconv.Itoa(i)))
		if errors.Is(err, unix.EXDEV) {
			err = store.RemoveTree(path)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// MoveToTrash renames path, if it exists, to target.
func MoveToTrash(path, target string) error {
	err := os.Rename(path, target)
	if errors.Is(err, unix.EPERM) {
		// A container can make its root directory immutable. If something is mounted in path, leave it immutable: the files of that mount
		// do not belong to the layer.
		if mounts, merr := mountutil.MountsUnder(path); merr == nil && len(mounts) == 0 {
			if err = fsutil.MakeMutable(path); err == nil {
				err = os.Rename(path, target)
			}
		}
	}
	return fsutil.IgnoreGone(err)
}

// RestoreMountPoint makes mnt/<id>, if it is missing and the layer has its diff/<id>.
func RestoreMountPoint(h store.Home, id string) error {
	_, err := os.Lstat(h.Diff(id))
	if err != nil {
		return fsutil.IgnoreGone(err)
	}
	err = fsutil.MkdirWithoutACL(h.Mnt(id), 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return whiteout.CopyDirMetadata(h.Diff(id), whiteout.AufsForm, h.Mnt(id))
}
