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

// Init mounts the home directory onto itself, and makes that mount a private one: in a shared one, a layer's mount would
// appear in other mount namespaces as well, and keep the layer busy there. Cleanup takes it away. As long as a layer is
// mounted, neither may happen: the layer's mount would be out of reach below the new one, or the old one be in use.
//
// If something is mounted in home, as can be at diff, that would be out of reach as well: mnt is mounted onto itself then.

// LockMounts waits until nobody else is mounting in the store, or about to change the mount that it is on: how is LOCK_SH
// for the one, LOCK_EX for the other, and for who has to be the only one that mounts. It is the innermost of all locks.
func (h Home) LockMounts(how int) (*fsutil.Lock, error) {
	// Not of the name of home, which may be a symbolic link.
	return h.FlockFile(h.Overlay(MountsLock), string(h)+"/..", how)
}

// LockMountsOutside is LockMounts, for LOCK_EX, by a file that is open, but not in the mount at home, which it would keep busy: in a copy of
// that mount, which is attached to nothing. Kernels before 5.2 have no such copies.
func (h Home) LockMountsOutside() (*fsutil.Lock, error) {
	path := h.Overlay(MountsLock)
	// Somebody may have removed what belongs to this driver alone.
	_ = h.makeInOverlay(h.Overlay())
	noCopies := false
	lock, err := fsutil.LockOpened(path, func() (int, error) {
		// Each time anew: overlay/ may be another one by now.
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

// Mounting calls do, which mounts something in the store.
func (h Home) Mounting(do func() error) error { return h.mountingAs(unix.LOCK_SH, do) }

// MountingAlone is Mounting while nobody else is mounting in the store.
func (h Home) MountingAlone(do func() error) error { return h.mountingAs(unix.LOCK_EX, do) }

func (h Home) mountingAs(how int, do func() error) error {
	lock, err := h.LockMounts(how)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return do()
}

// MakePrivate makes home a private mount, or mnt, if something is mounted in home. A mnt that is a mount point becomes private in either case.
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

// makePrivateIfEmpty makes a directory a private mount, unless it is no mount yet, and has mounts in it.
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

// isMountPoint is mountutil.IsMounted, where what cannot be told counts as not mounted.
func isMountPoint(dir string) bool {
	mounted, err := mountutil.IsMounted(dir)
	return err == nil && mounted
}

// LeavePrivate takes that mount away, if nothing in it is mounted or in use.
func (h Home) LeavePrivate() error {
	lock, err := h.LockMountsOutside()
	if err != nil {
		return fsutil.IgnoreGone(err)
	}
	defer lock.Unlock()
	return errors.Join(leaveSelfBind(h.Mnt("")), leaveSelfBind(string(h)))
}

// leaveSelfBind is LeavePrivate for one of the two.
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
		// Another process is at work on the store, or has a layer without parents, or the lock keeps it busy on an old kernel: it does no harm.
		return nil
	}
	return fmt.Errorf("aufs: cleaning up: %w", &mountutil.Error{Op: "unmount", Target: dir, Err: err})
}

// IsSelfBind tells if the mount at dir is one of that very directory onto itself, as Init makes them: of the same file
// system, and the same place in it, that the mount around it shows there.
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
