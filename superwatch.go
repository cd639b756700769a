//go:build linux

package aufs

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// superWatch finds out if the file system of a mount has come to its end with an unmount: there is no other mount of it then, in
// any mount namespace, seen or unseen. It costs next to nothing, where to ask overlayfs by a trial mount, or to look through the
// mounts of all processes, does not.
type superWatch struct {
	// dev is the number of the file system, as ustat(2) takes it, or 0: see fd then.
	dev int
	// fd is an inotify instance that watches the file system.
	fd int
}

// watchSuper watches the file system that is mounted at target. It is nil if that cannot be had.
//
// Ustat(2) knows a file system by its number for as long as it lives. Where that call does not exist (it is not on newer
// architectures, nor behind some seccomp filters), the kernel tells those who watch a file of it (inotify(7), IN_UNMOUNT), before
// umount(2) returns; but it takes the kernel milliseconds to end such a watch.
func watchSuper(target string) *superWatch {
	var stx unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, target, unix.AT_NO_AUTOMOUNT|unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &stx)
	if dev := kernelDev(stx.Dev_major, stx.Dev_minor); err == nil && dev != 0 && superLives(dev) {
		return &superWatch{dev: dev}
	}
	return watchByInotify(target)
}

// kernelDev is a device number as new_encode_dev of the kernel writes it; within its 32 bits the C library does so as well.
func kernelDev(major, minor uint32) int {
	return int(unix.Mkdev(major, minor)) //nolint:gosec // see above
}

// superLives tells if ustat(2) knows a file system of this number. It is false as well where that call does not exist.
func superLives(dev int) bool {
	var u unix.Ustat_t
	return unix.Ustat(dev, &u) == nil
}

func watchByInotify(target string) *superWatch {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil
	}
	// IN_UNMOUNT comes whatever is asked for.
	if _, err := unix.InotifyAddWatch(fd, target, unix.IN_DELETE_SELF|unix.IN_ONLYDIR|unix.IN_DONT_FOLLOW); err != nil {
		_ = unix.Close(fd) // nothing was done with it
		return nil
	}
	return &superWatch{fd: fd}
}

// ended ends the watch, and tells if the file system is gone for sure. It may be called on nil.
func (w *superWatch) ended() bool {
	if w == nil {
		return false
	}
	if w.dev != 0 {
		// Another one may have got the number by now; then it is as if this one were alive, and has to be asked.
		var u unix.Ustat_t
		return errors.Is(unix.Ustat(w.dev, &u), unix.EINVAL)
	}
	defer unix.Close(w.fd)
	buffer := make([]byte, 4096)
	n, err := unix.Read(w.fd, buffer)
	if err != nil {
		return false
	}
	for events := buffer[:n]; len(events) >= unix.SizeofInotifyEvent; {
		mask := binary.NativeEndian.Uint32(events[4:])
		if mask&unix.IN_UNMOUNT != 0 {
			return true
		}
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		if size > len(events) {
			return false
		}
		events = events[size:]
	}
	return false
}
