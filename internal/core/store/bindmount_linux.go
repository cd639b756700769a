package store

import (
	"errors"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"golang.org/x/sys/unix"
)

// BindFlags are the flags of mount(2) that a bind mount can have for itself. The others are those of a file system.
const BindFlags = aufsfs.DetachedFlags | unix.MS_RDONLY

// atimeFlags are those of them that say how access times are kept: one of three ways.
const atimeFlags uintptr = unix.MS_NOATIME | unix.MS_RELATIME | unix.MS_STRICTATIME

// bindAttributes are the attributes that a bind mount gets for flags. It is private, too: what is mounted in it shows nowhere else.
func bindAttributes(flags uintptr) unix.MountAttr {
	attributes := unix.MountAttr{Attr_set: uint64(mountutil.MountAttributes(flags)), Propagation: unix.MS_PRIVATE} //nolint:gosec // it is not negative
	if flags&atimeFlags != 0 {
		attributes.Attr_clr = unix.MOUNT_ATTR__ATIME
	}
	return attributes
}

// RemountFlags are the flags with which a bind mount on a file system that has the flags has, as statfs(2) says, is mounted again to get flags. It
// keeps what it has, but for access times, which the kernel keeps if nothing is said of them.
func RemountFlags(flags uintptr, has int64) uintptr {
	const kept = unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	return unix.MS_REMOUNT | unix.MS_BIND | flags | uintptr(has)&kept
}

// bindMount mounts the directory dir at target, with flags that are among BindFlags. It is there with all of them, or not at all. An error
// that mountutil.SaysNo is about this kernel.
func bindMount(dir, target string, flags uintptr) error {
	fail := func(op string, err error) error {
		return &mountutil.Error{Op: op + " " + dir + " for", Target: target, Flags: flags, Err: err}
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fail("open_tree", err)
	}
	defer unix.Close(fd)
	attributes := bindAttributes(flags)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attributes); err != nil {
		return fail("mount_setattr", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fail("move_mount", err)
	}
	return nil
}

// bindInSteps mounts dir at a place where nobody sees it before it has all flags: that takes older kernels several calls. If one fails, nothing
// stays mounted.
func bindInSteps(dir, at string, flags uintptr) error {
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

// Bind mounts the directory dir of the store at target, as bindMount does.
func (h Home) Bind(dir, target string, flags uintptr) error {
	err := h.Mounting(func() error { return bindMount(dir, target, flags) })
	if err == nil || !mountutil.SaysNo(err) {
		return err
	}
	return h.BindOld(dir, target, flags)
}

// BindOld is Bind for kernels before 5.12, and where the calls of newer ones are forbidden.
func (h Home) BindOld(dir, target string, flags uintptr) error {
	err := h.MountStaged(target, func(at string) error { return bindInSteps(dir, at, flags) })
	if errors.Is(err, unix.EROFS) {
		// Nothing can be staged in a read-only store, nor be written to through a mount of it for a moment.
		err = h.Mounting(func() error { return bindInSteps(dir, target, flags) })
	}
	return err
}
