//go:build linux

package removal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// How Remove takes a layer out of the store. What could keep it from that is looked for while the layer is whole.

// A Remover takes layers out of one store, and what is left of some that do not exist. It may be used by several goroutines.
type Remover struct {
	Home  store.Home
	Notes inuse.Notes
	// trash has the files of layers that are gone, until they are deleted.
	trash store.SharedScratch
}

// New is a Remover for the store at h, whose mounts of aufs are noted in notes.
func New(h store.Home, notes inuse.Notes) *Remover { return &Remover{Home: h, Notes: notes} }

// ClearMounts unmounts what is mounted at mnt/<id>, and inside of what belongs to the layer id. It is an error if something that belongs
// to it is a mount point after that: such a path cannot be moved, and what is mounted there is not the layer's. The caller holds the lock of
// id, or the store lock while there is no such layer.
func (r *Remover) ClearMounts(id string) error {
	if err := mountutil.UnmountStacked(r.Home.Mnt(id)); err != nil {
		return err
	}
	mounts, err := mountutil.MountsUnder(string(r.Home))
	if err != nil || len(mounts) == 0 {
		return err
	}
	root, err := filepath.EvalSymlinks(string(r.Home))
	if err != nil {
		return err
	}
	var inside []string
	for _, m := range mounts {
		path := string(r.Home) + strings.TrimPrefix(m.Mountpoint, root)
		for _, own := range r.Home.Belongings(id) {
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

// TakeOut makes the layer id not exist any more, by the removal of its layers/<id>, and moves all that belongs to it to a
// scratch directory. If the disk is too full for one, it deletes all that at once, and trash is nil.
//
// After an error the layer is there yet, if it was, and has its files. left says what could not be moved after its files were: the next
// Init sweeps it.
func (r *Remover) TakeOut(id string) (trash *store.Scratch, left, err error) {
	locked, err := r.Home.LockStore()
	if err != nil {
		return nil, nil, err
	}
	defer locked.Unlock()
	// Before the layer is gone: there may be no room for it on the disk.
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

// makeAbsent removes layers/<id>, and returns what was in it; that is nil if it was not there.
func (r *Remover) makeAbsent(id string) (content []byte, err error) {
	// What cannot be read is no layer, and goes as well.
	content, _ = fsutil.ReadFile(r.Home.Layers(id)) //nolint:errcheck // see above
	if err := os.Remove(r.Home.Layers(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Durable before the data goes: a layer that exists after a crash has all of it. That it is gone already may be the work of somebody
	// who did not come to this.
	return content, fsutil.SyncDir(r.Home.Layers(""))
}

// putBack makes the layer id exist again, with what was in its file.
func (r *Remover) putBack(id string, content []byte) error {
	if content == nil {
		return nil
	}
	if err := fsutil.WriteFileAtomic(r.Home.Tmp(), r.Home.Layers(id), content); err != nil {
		return fmt.Errorf("the layer does not exist any more, and its files are to be swept: %w", err)
	}
	return nil
}

// NewTrash makes a directory for what is to be deleted. The caller holds the store lock.
func (r *Remover) NewTrash() (*store.Scratch, error) {
	return r.trash.Join(func() (*store.Scratch, error) { return r.Home.BesideDiff().NewScratchLocked("trash") })
}

// moveOut moves all that belongs to the layer id, which does not exist, to a scratch directory. The caller holds the store lock, and
// nothing of the layer is mounted. After an error there may be such a directory as well: with what could be moved.
func (r *Remover) moveOut(id string) (trash *store.Scratch, err error) {
	if trash, err = r.NewTrash(); err != nil {
		return nil, err
	}
	// Whoever has removed the layer's file may have been killed before that was durable.
	if err = fsutil.SyncDir(r.Home.Layers("")); err == nil {
		err = r.moveFirst(trash, id)
	}
	if err != nil {
		return nil, errors.Join(err, trash.Discard())
	}
	return trash, r.moveRest(trash, id)
}

// moveFirst removes the layer's mount point, and moves its files to a scratch directory, or neither. The mount point comes first: if it
// was mounted again it cannot be removed.
func (r *Remover) moveFirst(trash *store.Scratch, id string) error {
	err := unix.Rmdir(r.Home.Mnt(id))
	// moveRest removes one that is not empty.
	if fsutil.IgnoreGone(err) != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return &fs.PathError{Op: "rmdir", Path: r.Home.Mnt(id), Err: err}
	}
	err = MoveToTrash(r.Home.Diff(id), filepath.Join(trash.Dir, "diff"))
	if err == nil || errors.Is(err, unix.EXDEV) {
		// As above.
		return nil
	}
	return errors.Join(err, RestoreMountPoint(r.Home, id))
}

// moveRest moves what else belongs to the layer, or removes it: files, and what is in another mount than the scratch directory, which is
// little, or was there before diff became a mount point. The error says of all that is left.
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

// MoveToTrash renames path, if there is such a file, to target.
func MoveToTrash(path, target string) error {
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

// RestoreMountPoint makes a mnt/<id> that is not there.
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
