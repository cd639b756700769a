//go:build linux

package mountutil

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// The functions of this file are for mounts of any file system that are made with fsopen(2), fsconfig(2) and fsmount(2).

// Option is a key with its value.
type Option struct{ Key, Value string }

// MaxParameter is the length of the longest value for fsconfig(2), with the NUL at its end.
const MaxParameter = 256

// SetOptions passes options to a file system context.
func SetOptions(fsfd int, options []Option) error {
	for _, o := range options {
		var err error
		if o.Value == "" {
			err = unix.FsconfigSetFlag(fsfd, o.Key)
		} else {
			err = unix.FsconfigSetString(fsfd, o.Key, o.Value)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", o.Key, o.Value, err)
		}
	}
	return nil
}

// WithKernelLog adds to err the messages of the kernel about it, which it reads from the file system context fsfd.
func WithKernelLog(fsfd int, err error) error {
	var lines []string
	buf := make([]byte, 4096)
	for {
		n, rerr := unix.Read(fsfd, buf)
		if rerr != nil || n <= 0 {
			break
		}
		lines = append(lines, strings.TrimSpace(string(buf[:n])))
	}
	if len(lines) == 0 {
		return err
	}
	return fmt.Errorf("%w (the kernel says: %s)", err, strings.Join(lines, "; "))
}

// MountAttributes returns the attributes for fsmount(2) that mean the same as these flags of mount(2).
func MountAttributes(flags uintptr) int {
	attributes := 0
	for flag, attribute := range map[uintptr]int{
		unix.MS_RDONLY:      unix.MOUNT_ATTR_RDONLY,
		unix.MS_NODEV:       unix.MOUNT_ATTR_NODEV,
		unix.MS_NOSUID:      unix.MOUNT_ATTR_NOSUID,
		unix.MS_NOEXEC:      unix.MOUNT_ATTR_NOEXEC,
		unix.MS_NOATIME:     unix.MOUNT_ATTR_NOATIME,
		unix.MS_STRICTATIME: unix.MOUNT_ATTR_STRICTATIME,
		unix.MS_NODIRATIME:  unix.MOUNT_ATTR_NODIRATIME,
	} {
		if flags&flag != 0 {
			attributes |= attribute
		}
	}
	if flags&unix.MS_STRICTATIME != 0 {
		// If mount(2) gets both flags, MS_STRICTATIME wins.
		attributes &^= unix.MOUNT_ATTR_NOATIME
	}
	return attributes
}
