//go:build linux

package mountutil

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// What mounts with fsopen(2), fsconfig(2) and fsmount(2) have in common, of whichever file system they are.

// Option is one key with its value.
type Option struct{ Key, Value string }

// MaxParameter is how long a value for fsconfig(2) may be, the NUL at its end included.
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

// WithKernelLog adds to err what the kernel had to say about it.
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

// MountAttributes are the attributes of fsmount(2) for flags of mount(2).
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
		// As in mount(2).
		attributes &^= unix.MOUNT_ATTR_NOATIME
	}
	return attributes
}
