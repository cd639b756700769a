//go:build linux

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// How Remove takes a layer out of the store. What could keep it from that is looked for while the layer is whole.

// clearMounts unmounts what is mounted at mnt/<id>, and inside of what belongs to the layer id. It is an error if something that belongs
// to it is a mount point after that: such a path cannot be moved, and what is mounted there is not the layer's. The caller holds the lock of
// id, or the store lock while there is no such layer.
func (d *Driver) clearMounts(id string) error {
	if err := mountutil.UnmountStacked(d.home.Mnt(id)); err != nil {
		return err
	}
	mounts, err := mountutil.MountsUnder(string(d.home))
	if err != nil || len(mounts) == 0 {
		return err
	}
	root, err := filepath.EvalSymlinks(string(d.home))
	if err != nil {
		return err
	}
	var inside []string
	for _, m := range mounts {
		path := string(d.home) + strings.TrimPrefix(m.Mountpoint, root)
		for _, own := range d.belongings(id) {
			if path == own {
				return fmt.Errorf("%s is a mount point, which has to be unmounted first: %w", path, unix.EBUSY)
			}
			if mountutil.IsBelow(path, own) {
				inside = append(inside, path)
			}
		}
	}
	for _, path := range inside {
		if err := mountutil.UnmountRetry(path); err != nil {
			return err
		}
	}
	return nil
}

// takeOut makes the layer id not exist any more, by the removal of its layers/<id>, and moves all that belongs to it to a
// scratch directory. If the disk is too full for one, it deletes all that at once, and trash is nil.
//
// After an error the layer is there yet, if it was, and has its files. left says what could not be moved after its files were: the next
// Init sweeps it.
func (d *Driver) takeOut(id string) (trash *store.Scratch, left, err error) {
	locked, err := d.home.LockStore()
	if err != nil {
		return nil, nil, err
	}
	defer locked.Unlock()
	// Before the layer is gone: there may be no room for it on the disk.
	trash, err = d.newTrash()
	if err != nil && !store.HasNoRoom(err) {
		return nil, nil, err
	}
	content, err := d.makeAbsent(id)
	if err != nil {
		if trash != nil {
			err = errors.Join(err, trash.Discard())
		}
		return nil, nil, err
	}
	if trash == nil {
		for _, path := range d.belongings(id) {
			left = errors.Join(left, store.RemoveTree(path))
		}
		return nil, left, nil
	}
	if err := d.moveFirst(trash, id); err != nil {
		return nil, nil, errors.Join(err, d.putBack(id, content), trash.Discard())
	}
	return trash, d.moveRest(trash, id), nil
}

// makeAbsent removes layers/<id>, and returns what was in it; that is nil if it was not there.
func (d *Driver) makeAbsent(id string) (content []byte, err error) {
	// What cannot be read is no layer, and goes as well.
	content, _ = fsutil.ReadFile(d.home.Layers(id)) //nolint:errcheck // see above
	if err := os.Remove(d.home.Layers(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Durable before the data goes: a layer that exists after a crash has all of it. That it is gone already may be the work of somebody
	// who did not come to this.
	return content, fsutil.SyncDir(d.home.Layers(""))
}

// putBack makes the layer id exist again, with what was in its file.
func (d *Driver) putBack(id string, content []byte) error {
	if content == nil {
		return nil
	}
	if err := fsutil.WriteFileAtomic(d.home.Tmp(), d.home.Layers(id), content); err != nil {
		return fmt.Errorf("the layer does not exist any more, and its files are to be swept: %w", err)
	}
	return nil
}

// newTrash makes a directory for what is to be deleted. The caller holds the store lock.
func (d *Driver) newTrash() (*store.Scratch, error) {
	return d.trash.Join(func() (*store.Scratch, error) { return d.home.BesideDiff().NewScratchLocked("trash") })
}

// moveOut moves all that belongs to the layer id, which does not exist, to a scratch directory. The caller holds the store lock, and
// nothing of the layer is mounted. After an error there may be such a directory as well: with what could be moved.
func (d *Driver) moveOut(id string) (trash *store.Scratch, err error) {
	if trash, err = d.newTrash(); err != nil {
		return nil, err
	}
	// Whoever has removed the layer's file may have been killed before that was durable.
	if err = fsutil.SyncDir(d.home.Layers("")); err == nil {
		err = d.moveFirst(trash, id)
	}
	if err != nil {
		return nil, errors.Join(err, trash.Discard())
	}
	return trash, d.moveRest(trash, id)
}

// moveFirst removes the layer's mount point, and moves its files to a scratch directory, or neither. The mount point comes first: if it
// was mounted again it cannot be removed.
func (d *Driver) moveFirst(trash *store.Scratch, id string) error {
	err := unix.Rmdir(d.home.Mnt(id))
	// moveRest removes one that is not empty.
	if fsutil.IgnoreGone(err) != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return &fs.PathError{Op: "rmdir", Path: d.home.Mnt(id), Err: err}
	}
	err = moveToTrash(d.home.Diff(id), filepath.Join(trash.Dir, "diff"))
	if err == nil || errors.Is(err, unix.EXDEV) {
		// As above.
		return nil
	}
	return errors.Join(err, restoreMountPoint(d.home, id))
}

// moveRest moves what else belongs to the layer, or removes it: files, and what is in another mount than the scratch directory, which is
// little, or was there before diff became a mount point. The error says of all that is left.
func (d *Driver) moveRest(trash *store.Scratch, id string) error {
	var errs []error
	for i, path := range d.belongings(id) {
		if unix.Unlink(path) == nil {
			continue
		}
		err := moveToTrash(path, filepath.Join(trash.Dir, strconv.Itoa(i)))
		if errors.Is(err, unix.EXDEV) {
			err = store.RemoveTree(path)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// moveToTrash renames path, if there is such a file, to target.
func moveToTrash(path, target string) error {
	err := os.Rename(path, target)
	if errors.Is(err, unix.EPERM) {
		// A container can make its root directory immutable. What is mounted in it is not the layer's.
		if mounts, merr := mountutil.MountsUnder(path); merr == nil && len(mounts) == 0 {
			if err = fsutil.MakeMutable(path); err == nil {
				err = os.Rename(path, target)
			}
		}
	}
	return fsutil.IgnoreGone(err)
}
