//go:build linux

package mountutil

import (
	"os"

	"golang.org/x/sys/unix"
)

// AttachIDMapped mounts the directory source at the directory target, without what is mounted in it, and read-only. The mount takes
// the ids on the disk for ids in the user namespace, and shows the ids on the host that these stand for. Linux 5.12 brought
// such mounts; not every file system can have them.
func AttachIDMapped(source, target string, namespace *os.File) error {
	fail := func(op string, err error) error {
		return &Error{Op: op + " " + source + " for", Target: target, Err: err}
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fail("open_tree", err)
	}
	defer unix.Close(fd)
	attributes := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE, Userns_fd: uint64(namespace.Fd()),
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attributes); err != nil {
		return fail("mount_setattr", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fail("move_mount", err)
	}
	return nil
}
