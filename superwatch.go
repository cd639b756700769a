//go:build linux

package aufs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// superWatch finds out if the file system of a mount has come to its end with an unmount: there is no other mount of it then, in
// any mount namespace, seen or unseen. The kernel says so to those who watch a file of it (inotify(7), IN_UNMOUNT), and does
// before umount(2) returns. It costs next to nothing, where to ask overlayfs by a trial mount, or to look through the mounts of
// all processes, does not.
type superWatch struct {
	fd int
}

// watchSuper watches the file system that is mounted at target. It is nil if that cannot be had, as where a user has no more
// inotify instances.
func watchSuper(target string) *superWatch {
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
