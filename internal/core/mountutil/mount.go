//go:build linux

package mountutil

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/selinux/go-selinux/label"
	"golang.org/x/sys/unix"
)

// Error is the error of a system call about a mount.
type Error struct {
	Op     string
	Target string
	Fstype string
	Flags  uintptr
	Data   string
	Err    error
}

// Error includes everything that was passed to the kernel, because the kernel returns no more than an error number.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Op, e.Target)
	if e.Fstype != "" {
		fmt.Fprintf(&b, ", type %s", e.Fstype)
	}
	if e.Flags != 0 {
		fmt.Fprintf(&b, ", flags %#x", e.Flags)
	}
	if e.Data != "" {
		fmt.Fprintf(&b, ", data %q", e.Data)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	return b.String()
}

// Unwrap returns the error of the kernel.
func (e *Error) Unwrap() error { return e.Err }

// Mount is mount(2). Its error is an *Error.
func Mount(op, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount("none", target, fstype, flags, data); err != nil {
		return &Error{Op: op, Target: target, Fstype: fstype, Flags: flags, Data: data, Err: err}
	}
	return nil
}

// Move moves the mount at from to the directory to. The mount that contains from must not be shared.
func Move(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_MOVE, ""); err != nil {
		return &Error{Op: "move the mount " + from + " to", Target: to, Err: err}
	}
	return nil
}

const (
	// unmountTries and unmountDelay limit how long UnmountRetry waits for EBUSY to pass: about 1.3 seconds in all. The kernel, and programs
	// that scan each new mount, can hold a mount for a moment.
	unmountTries = 8
	unmountDelay = 10 * time.Millisecond
)

// UnmountRetry is umount(2) without MNT_DETACH: when it succeeds, the file system is gone from this mount namespace. It retries after EBUSY
// for a limited time, and then returns an error that wraps a *BusyError. A target that is not a mount, or does not exist, is no error.
func UnmountRetry(target string) error {
	delay := unmountDelay
	for try := 1; ; try++ {
		err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, unix.EINVAL):
			// According to umount(2), target is not a mount point. But EINVAL has other causes as well.
			if mounted, merr := IsMounted(target); merr == nil && !mounted {
				return nil
			}
			return &Error{Op: "unmount", Target: target, Err: err}
		case !errors.Is(err, unix.EBUSY):
			return &Error{Op: "unmount", Target: target, Err: err}
		case try == unmountTries:
			return &Error{Op: "unmount", Target: target, Err: Busy(target)}
		}
		time.Sleep(delay)
		delay *= 2
	}
}

// UnmountStacked is UnmountRetry for all mounts at target, one on top of the other.
func UnmountStacked(target string) error {
	for {
		if err := UnmountRetry(target); err != nil {
			return err
		}
		if mounted, err := IsMounted(target); err != nil || !mounted {
			return err
		}
	}
}

// IsMounted reports whether target is a mount point in this mount namespace. A target that does not exist is no mount point.
func IsMounted(target string) (bool, error) {
	// Since Linux 5.8, this one call is enough.
	var stx unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, target, unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, 0, &stx)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESTALE) {
		return hasLostRoot(target)
	}
	if err == nil && stx.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	// Since Linux 5.6, MountedFast can tell with one or two calls.
	mounted, sure, err := mountinfo.MountedFast(target)
	if err == nil && sure {
		return mounted, nil
	}
	return MountedByTable(target)
}

// MakePrivateMount makes the directory dir a private mount. If nothing is mounted at dir, it mounts dir onto itself first.
func MakePrivateMount(dir string) error {
	mounted, err := IsMounted(dir)
	if err != nil {
		return err
	}
	if !mounted {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return &Error{Op: "bind mount", Target: dir, Flags: unix.MS_BIND, Err: err}
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return &Error{Op: "make private", Target: dir, Flags: unix.MS_PRIVATE, Err: err}
	}
	return nil
}

// MountsUnder returns the mounts below dir in this mount namespace, without a mount at dir itself. They can be unmounted in the order of
// the result: the deepest and the newest mounts come first.
func MountsUnder(dir string) ([]*mountinfo.Info, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mounts, err := MountsHere(mountinfo.PrefixFilter(resolved))
	if err != nil {
		return nil, fmt.Errorf("reading the mounts under %s: %w", dir, err)
	}
	var under []*mountinfo.Info
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].Mountpoint != resolved {
			under = append(under, mounts[i])
		}
	}
	return under, nil
}

// UnmountUnder unmounts all mounts below dir. It does not read what is in them.
func UnmountUnder(dir string) error {
	mounts, err := MountsUnder(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range mounts {
		errs = append(errs, UnmountRetry(m.Mountpoint))
	}
	return errors.Join(errs...)
}

// ContextOption returns the mount option that gives all files of a mount the SELinux label mountLabel. It returns "" if there is no label.
func ContextOption(mountLabel string) string {
	return label.FormatMountLabel("", mountLabel)
}

// InUserNamespace reports whether this process is in a user namespace other than the initial one. The initial one maps all ids to
// themselves (user_namespaces(7)). InUserNamespace remembers its first answer, because a process with several threads cannot change its
// user namespace.
func InUserNamespace() (bool, error) {
	if nested := nestedProcess.Load(); nested != nil {
		return *nested, nil
	}
	content, err := os.ReadFile("/proc/self/uid_map")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	fields := strings.Fields(string(content))
	initial := len(fields) == 3 && fields[0] == "0" && fields[1] == "0" && fields[2] == "4294967295"
	// A kernel without user namespaces does not have the file.
	nested := err == nil && !initial
	nestedProcess.Store(&nested)
	return nested, nil
}

// nestedProcess is the answer of InUserNamespace, once there is one.
var nestedProcess atomic.Pointer[bool]
