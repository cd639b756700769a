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

// Error is a system call about a mount that failed.
type Error struct {
	Op     string
	Target string
	Fstype string
	Flags  uintptr
	Data   string
	Err    error
}

// Error names all that was passed to the kernel, which for its part says no more than one error number.
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

// Mount is mount(2) with the error told in full.
func Mount(op, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount("none", target, fstype, flags, data); err != nil {
		return &Error{Op: op, Target: target, Fstype: fstype, Flags: flags, Data: data, Err: err}
	}
	return nil
}

// Move moves the mount at from to the directory to. The mount that from is in must not be shared.
func Move(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_MOVE, ""); err != nil {
		return &Error{Op: "move the mount " + from + " to", Target: to, Err: err}
	}
	return nil
}

const (
	// unmountTries and unmountDelay bound how long EBUSY is taken for something that passes: the kernel, and whoever
	// looks through a new mount, hold one for moments. One and a half seconds in all.
	unmountTries = 8
	unmountDelay = 10 * time.Millisecond
)

// UnmountRetry is umount(2), without MNT_DETACH: when it succeeds the file system is gone from this mount namespace. EBUSY
// is retried for a bounded time; the error is a *BusyError then. A target that is not a mount, or is not there, is no error.
func UnmountRetry(target string) error {
	delay := unmountDelay
	for try := 1; ; try++ {
		err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, unix.EINVAL):
			// Not a mount, says the manual; and other things.
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

// UnmountStacked is UnmountRetry for all that is mounted at target, one on top of the other.
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

// IsMounted tells if target is a mount point in this mount namespace. One that does not exist is none.
func IsMounted(target string) (bool, error) {
	// One call, since Linux 5.8.
	var stx unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, target, unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, 0, &stx)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil && stx.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	// One or two, since Linux 5.6.
	mounted, sure, err := mountinfo.MountedFast(target)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil && sure {
		return mounted, nil
	}
	return MountedByTable(target)
}

// MakePrivateMount makes the directory dir a private mount: onto itself, unless something is mounted there.
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

// MountsUnder returns the mount points below dir in this mount namespace, the deepest and the newest first, so that they
// can be unmounted in this order. dir itself is not among them.
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

// UnmountUnder unmounts all mounts below dir, and looks into none of them.
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

// ContextOption is the mount option that gives all files of a mount the SELinux label mountLabel, or "" without one.
func ContextOption(mountLabel string) string {
	return label.FormatMountLabel("", mountLabel)
}

// InUserNamespace tells if this process runs in a user namespace other than the initial one, whose map is that of all
// ids to themselves (user_namespaces(7)). A process with several threads stays in the one that it is in.
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
	// Without the file it is a kernel without user namespaces.
	nested := err == nil && !initial
	nestedProcess.Store(&nested)
	return nested, nil
}

// nestedProcess is the answer of InUserNamespace, once there was one.
var nestedProcess atomic.Pointer[bool]
