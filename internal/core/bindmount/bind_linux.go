package bindmount

import (
	"errors"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// Flags are the flags of mount(2) that a bind mount can have for itself. Other flags belong to the file system.
const Flags = aufsfs.DetachedFlags | unix.MS_RDONLY

// atimeFlags are the Flags that choose one of three ways to keep access times.
const atimeFlags uintptr = unix.MS_NOATIME | unix.MS_RELATIME | unix.MS_STRICTATIME

// attributesOf returns the attributes that a bind mount gets for flags. The mount is also private: whatever is mounted in it appears
// nowhere else.
func attributesOf(flags uintptr) unix.MountAttr {
	attributes := unix.MountAttr{Attr_set: uint64(mountutil.MountAttributes(flags)), Propagation: unix.MS_PRIVATE} // It is not negative.
	if flags&atimeFlags != 0 {
		attributes.Attr_clr = unix.MOUNT_ATTR__ATIME
	}
	return attributes
}

// RemountFlags returns the flags for mount(2) to remount a bind mount so that it gets flags. has are the flags that statfs(2) reports for
// the mount. A remount drops the flags that the call does not repeat, so RemountFlags adds them. It need not add flags for access times,
// which the kernel keeps if the call has none.
func RemountFlags(flags uintptr, has int64) uintptr {
	const kept = unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	return unix.MS_REMOUNT | unix.MS_BIND | flags | uintptr(has)&kept
}

// mountAt mounts the directory dir at target, with flags from Flags. The mount appears with all of them, or not at all. If
// mountutil.SaysNo accepts the error, this kernel, or a filter of system calls, may not know the calls.
func mountAt(dir, target string, flags uintptr) error {
	fail := func(op string, err error) error {
		return &mountutil.Error{Op: op + " " + dir + " for", Target: target, Flags: flags, Err: err}
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fail("open_tree", err)
	}
	defer unix.Close(fd)
	attributes := attributesOf(flags)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attributes); err != nil {
		return fail("mount_setattr", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fail("move_mount", err)
	}
	return nil
}

// mountInSteps mounts dir at the path at, with the several calls that older kernels need. Callers choose a place where nobody sees the mount
// before it has all flags. If a call fails, nothing stays mounted.
func mountInSteps(dir, at string, flags uintptr) error {
	fail := func(op string, flags uintptr, err error) error {
		return &mountutil.Error{Op: op + " " + dir + " at", Target: at, Flags: flags, Err: err}
	}
	if err := unix.Mount(dir, at, "", unix.MS_BIND, ""); err != nil {
		return fail("bind", unix.MS_BIND, err)
	}
	var st unix.Statfs_t
	err := unix.Statfs(at, &st)
	if err != nil {
		err = fail("statfs", 0, err)
	}
	if again := RemountFlags(flags, int64(st.Flags)); err == nil { //nolint:unconvert // it has other types elsewhere
		if err = unix.Mount("", at, "", again, ""); err != nil {
			err = fail("remount", again, err)
		}
	}
	if err == nil {
		if err = unix.Mount("", at, "", unix.MS_PRIVATE, ""); err != nil {
			err = fail("make private", unix.MS_PRIVATE, err)
		}
	}
	if err != nil {
		return errors.Join(err, mountutil.UnmountRetry(at))
	}
	return nil
}

// Mount mounts the directory dir of the store at target, as mountAt does.
func Mount(h store.Home, dir, target string, flags uintptr) error {
	err := h.Mounting(func() error { return mountAt(dir, target, flags) })
	if err == nil || !mountutil.SaysNo(err) {
		return err
	}
	return MountOld(h, dir, target, flags)
}

// MountOld is Mount for kernels before 5.12, and for systems that forbid the calls of newer kernels.
func MountOld(h store.Home, dir, target string, flags uintptr) error {
	err := h.MountStaged(target, func(at string) error { return mountInSteps(dir, at, flags) })
	if errors.Is(err, unix.EROFS) {
		// A read-only store has no place for MountStaged to work in. Mount at target itself: in the moment before the mount has its flags,
		// nobody can write through it either.
		err = h.Mounting(func() error { return mountInSteps(dir, target, flags) })
	}
	return err
}
