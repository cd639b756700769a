package aufs

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

// mountError is a system call about a mount that failed.
type mountError struct {
	op     string
	target string
	fstype string
	flags  uintptr
	data   string
	err    error
}

// Error names all that was passed to the kernel, which for its part says no more than one error number.
func (e *mountError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.op, e.target)
	if e.fstype != "" {
		fmt.Fprintf(&b, ", type %s", e.fstype)
	}
	if e.flags != 0 {
		fmt.Fprintf(&b, ", flags %#x", e.flags)
	}
	if e.data != "" {
		fmt.Fprintf(&b, ", data %q", e.data)
	}
	fmt.Fprintf(&b, ": %v", e.err)
	return b.String()
}

// Unwrap returns the error of the kernel.
func (e *mountError) Unwrap() error { return e.err }

// mountFS is mount(2) with the error told in full.
func mountFS(op, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount("none", target, fstype, flags, data); err != nil {
		return &mountError{op: op, target: target, fstype: fstype, flags: flags, data: data, err: err}
	}
	return nil
}

// moveMount moves the mount at from to the directory to. The mount that from is in must not be shared.
func moveMount(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_MOVE, ""); err != nil {
		return &mountError{op: "move the mount " + from + " to", target: to, err: err}
	}
	return nil
}

const (
	// unmountTries and unmountDelay bound how long EBUSY is taken for something that passes: the kernel, and whoever
	// looks through a new mount, hold one for moments. One and a half seconds in all.
	unmountTries = 8
	unmountDelay = 10 * time.Millisecond
)

// unmountRetry is umount(2), without MNT_DETACH: when it succeeds the file system is gone from this mount namespace. EBUSY
// is retried for a bounded time; the error is a *BusyError then. A target that is not a mount, or is not there, is no error.
func unmountRetry(target string) error {
	delay := unmountDelay
	for try := 1; ; try++ {
		err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, unix.EINVAL):
			// Not a mount, says the manual; and other things.
			if mounted, merr := isMounted(target); merr == nil && !mounted {
				return nil
			}
			return &mountError{op: "unmount", target: target, err: err}
		case !errors.Is(err, unix.EBUSY):
			return &mountError{op: "unmount", target: target, err: err}
		case try == unmountTries:
			return &mountError{op: "unmount", target: target, err: busy(target)}
		}
		time.Sleep(delay)
		delay *= 2
	}
}

// unmountStacked is unmountRetry for all that is mounted at target, one on top of the other.
func unmountStacked(target string) error {
	for {
		if err := unmountRetry(target); err != nil {
			return err
		}
		if mounted, err := isMounted(target); err != nil || !mounted {
			return err
		}
	}
}

// isMounted tells if target is a mount point in this mount namespace. One that does not exist is none.
func isMounted(target string) (bool, error) {
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
	return mountedByTable(target)
}

// makePrivateMount makes the directory dir a private mount: onto itself, unless something is mounted there.
func makePrivateMount(dir string) error {
	mounted, err := isMounted(dir)
	if err != nil {
		return err
	}
	if !mounted {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return &mountError{op: "bind mount", target: dir, flags: unix.MS_BIND, err: err}
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return &mountError{op: "make private", target: dir, flags: unix.MS_PRIVATE, err: err}
	}
	return nil
}

// mountsUnder returns the mount points below dir in this mount namespace, the deepest and the newest first, so that they
// can be unmounted in this order. dir itself is not among them.
func mountsUnder(dir string) ([]*mountinfo.Info, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mounts, err := mountsHere(mountinfo.PrefixFilter(resolved))
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

// unmountUnder unmounts all mounts below dir, and looks into none of them.
func unmountUnder(dir string) error {
	mounts, err := mountsUnder(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range mounts {
		errs = append(errs, unmountRetry(m.Mountpoint))
	}
	return errors.Join(errs...)
}

// contextOption is the mount option that gives all files of a mount the SELinux label mountLabel, or "" without one.
func contextOption(mountLabel string) string {
	return label.FormatMountLabel("", mountLabel)
}

// inUserNamespace tells if this process runs in a user namespace other than the initial one, whose map is that of all
// ids to themselves (user_namespaces(7)). A process with several threads stays in the one that it is in.
func inUserNamespace() (bool, error) {
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

// nestedProcess is the answer of inUserNamespace, once there was one.
var nestedProcess atomic.Pointer[bool]
