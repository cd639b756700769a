//go:build linux

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Init mounts the home directory onto itself, and makes that mount private. In a shared mount, a layer's mount would appear in other mount
// namespaces as well, and keep the layer busy there. Cleanup unmounts home again. Neither is possible while a layer is mounted: the new
// mount of home would hide the layer's mount, and the layer's mount would keep the old mount of home busy.
//
// A new mount at home would also hide anything else that is mounted in home, such as a disk at diff. In this case Init mounts mnt onto
// itself instead.

// LockMounts takes the lock of mounts. With LOCK_SH, the caller may mount something in the store, and nobody changes the mount that the
// store is on. With LOCK_EX, nobody else mounts anything in the store: this is for callers that change the mount that the store is on, or
// must be the only ones that mount. The lock of mounts is the innermost of all locks.
func (h Home) LockMounts(how int) (*fsutil.Lock, error) {
	// home/.. is the directory that contains home even if the name of home is a symbolic link.
	return h.FlockFile(h.Overlay(MountsLock), string(h)+"/..", how)
}

// LockMountsOutside is LockMounts with LOCK_EX, except that the open lock file does not keep the mount at home busy. It opens the file in a
// copy of that mount, which is attached to nothing. On kernels before 5.2, which cannot make such a copy, it is just LockMounts.
func (h Home) LockMountsOutside() (*fsutil.Lock, error) {
	path := h.Overlay(MountsLock)
	// Somebody may have removed overlay/, which other drivers do not need.
	_ = h.makeInOverlay(h.Overlay())
	noCopies := false
	lock, err := fsutil.LockOpened(path, func() (int, error) {
		// Open overlay/ anew each time: it may be another directory by now.
		dir, err := unix.OpenTree(unix.AT_FDCWD, h.Overlay(), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
		if noCopies = err != nil; noCopies {
			return -1, err
		}
		defer unix.Close(dir)
		fd, err := unix.Openat(dir, MountsLock, fsutil.OpenLockFile|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, unix.EROFS) && h.Closed(path) {
			fd, err = unix.Openat(dir, MountsLock, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		}
		return fd, err
	}, unix.LOCK_EX)
	if noCopies || HasNoRoom(err) {
		return h.LockMounts(unix.LOCK_EX)
	}
	return lock, err
}

// Mounting calls do, which mounts something in the store, under the lock of mounts.
func (h Home) Mounting(do func() error) error { return h.mountingAs(unix.LOCK_SH, do) }

// MountingAlone is Mounting while nobody else mounts anything in the store.
func (h Home) MountingAlone(do func() error) error { return h.mountingAs(unix.LOCK_EX, do) }

func (h Home) mountingAs(how int, do func() error) error {
	lock, err := h.LockMounts(how)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return do()
}

// MakePrivate makes home a private mount, or mnt if something is mounted in home. If mnt is a mount point, MakePrivate makes it private in
// either case.
func (h Home) MakePrivate() error {
	lock, err := h.LockMounts(unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	private, err := makePrivateIfEmpty(string(h))
	if err != nil || private && !isMountPoint(h.Mnt("")) {
		return err
	}
	_, err = makePrivateIfEmpty(h.Mnt(""))
	return err
}

// makePrivateIfEmpty makes dir a private mount. If dir is not a mount yet and has mounts in it, makePrivateIfEmpty does nothing and returns false.
func makePrivateIfEmpty(dir string) (private bool, err error) {
	mounted, err := mountutil.IsMounted(dir)
	if err != nil {
		return false, err
	}
	if !mounted {
		mounts, err := mountutil.MountsUnder(dir)
		if err != nil {
			return false, err
		}
		if len(mounts) > 0 {
			logrus.Debugf("aufs: %s does not become a private mount, as %s is mounted in it", dir, mounts[0].Mountpoint)
			return false, nil
		}
	}
	return true, mountutil.MakePrivateMount(dir)
}

// isMountPoint is mountutil.IsMounted, but on error it assumes that dir is not mounted.
func isMountPoint(dir string) bool {
	mounted, err := mountutil.IsMounted(dir)
	return err == nil && mounted
}

// LeavePrivate unmounts what MakePrivate has mounted, if nothing is mounted in it and nobody uses it.
func (h Home) LeavePrivate() error {
	lock, err := h.LockMountsOutside()
	if err != nil {
		return fsutil.IgnoreGone(err)
	}
	defer lock.Unlock()
	return errors.Join(leaveSelfBind(h.Mnt("")), leaveSelfBind(string(h)))
}

// leaveSelfBind is LeavePrivate for dir, which is mnt or home.
func leaveSelfBind(dir string) error {
	if !isMountPoint(dir) {
		return nil
	}
	mounts, err := mountutil.MountsUnder(dir)
	if err != nil || len(mounts) > 0 {
		return err
	}
	if ours, err := IsSelfBind(dir); err != nil || !ours {
		return err
	}
	err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EBUSY) {
		// EBUSY does no harm: another process works on the store, or uses a layer without parents, or the lock keeps the mount busy on an
		// old kernel.
		return nil
	}
	return OpError("cleaning up", &mountutil.Error{Op: "unmount", Target: dir, Err: err})
}

// IsSelfBind reports whether the mount at dir is a mount of dir onto itself, such as Init makes. Such a mount shows the same directory of
// the same file system as the mount around it would show at dir.
func IsSelfBind(dir string) (bool, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, fsutil.IgnoreGone(err)
	}
	mounts, err := mountutil.MountsHere(mountinfo.ParentsFilter(resolved))
	if err != nil {
		return false, fmt.Errorf("reading the mounts of %s: %w", dir, err)
	}
	byID := map[int]*mountinfo.Info{}
	var top *mountinfo.Info
	for _, m := range mounts {
		byID[m.ID] = m
		if m.Mountpoint == resolved {
			top = m
		}
	}
	if top == nil || byID[top.Parent] == nil {
		return false, nil
	}
	around := byID[top.Parent]
	rel, err := filepath.Rel(around.Mountpoint, resolved)
	if err != nil {
		return false, err
	}
	return top.Major == around.Major && top.Minor == around.Minor && top.Root == filepath.Join(around.Root, rel), nil
}
