//go:build linux

package aufsfs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// A stack that needs more than one call to the kernel is put together where nobody sees it. With fsopen(2), the mount is attached to
// nothing until it has all of its branches, and goes away if the process dies. HasContext says on which kernels.

// ErrNotDetached says that a stack cannot be passed to the kernel with fsconfig(2).
var ErrNotDetached = errors.New("too many for fsconfig(2), or too long")

// Batches returns the branches of a stack and its options in the order in which fsconfig(2) is to pass them. The first batch makes the file
// system, and each of the others is for one reconfiguration. No batch has more than MaxOptionsPerCall options and branches. label goes into
// each batch, unless it is "".
func Batches(branches []Branch, options []string, label string) (batches [][]mountutil.Option, err error) {
	var every, tail []mountutil.Option
	if label != "" {
		every = []mountutil.Option{{Key: "context", Value: label}}
	}
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		tail = append(tail, mountutil.Option{Key: key, Value: value})
	}
	tail = append(tail, every...)
	for key := "br"; len(branches) > 0; tail = every {
		n := min(len(branches), MaxOptionsPerCall-len(tail))
		if n <= 0 {
			return nil, fmt.Errorf("%d mount options: %w", len(tail), ErrNotDetached)
		}
		var batch []mountutil.Option
		for _, b := range branches[:n] {
			batch = append(batch, mountutil.Option{Key: key, Value: b.String()})
			key = "append"
		}
		branches = branches[n:]
		batches = append(batches, append(batch, tail...))
	}
	for _, o := range slices.Concat(batches...) {
		if len(o.Value) >= mountutil.MaxParameter {
			return nil, fmt.Errorf("%s=%s: %w", o.Key, o.Value, ErrNotDetached)
		}
	}
	return batches, nil
}

// DetachedFlags are the flags of mount(2) that MountDetached knows. MS_RDONLY is not among them: aufs reads it when a reconfiguration
// begins, and fspick(2) has no way to pass it. Without the flag, aufs would complain of a first branch that is not "rw" (aufs_fsctx_init in
// fs/aufs/fsctx.c).
const DetachedFlags uintptr = unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME |
	unix.MS_STRICTATIME

// HasContext reports whether the kernel's aufs may be mounted with fsconfig(2). If an aufs has no file system context of its own, the kernel
// gathers the options of a batch in one page, and writes past the end of it if they are longer (legacy_parse_param, CVE-2022-0185): an aufs kernel
// 5.4 crashed. For Linux 5.10 to 5.16, only releases of aufs from February 2022 on have a context, and nothing tells the release. Linux 5.17 does
// not write past the end.
func HasContext() bool { return fsutil.KernelFrom(5, 17) }

// MountDetached mounts a stack at target, whole or not at all. Nobody may call it on a kernel without HasContext. xino is the path of the stack's
// xino file, which MountDetached removes.
func MountDetached(target string, batches [][]mountutil.Option, flags uintptr, xino string) error {
	fail := func(op string, err error) error {
		return &mountutil.Error{
			Op: op, Target: target, Fstype: "aufs", Flags: flags, Data: fmt.Sprintf("%d batches of options", len(batches)), Err: err,
		}
	}
	fsfd, err := unix.Fsopen("aufs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail("fsopen for", err)
	}
	defer unix.Close(fsfd)
	err = mountutil.SetOptions(fsfd, batches[0])
	if err == nil {
		err = unix.FsconfigCreate(fsfd)
	}
	RemoveXino(xino)
	if err != nil {
		return fail("mount", mountutil.WithKernelLog(fsfd, err))
	}
	mfd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, mountutil.MountAttributes(flags))
	if err != nil {
		return fail("fsmount", mountutil.WithKernelLog(fsfd, err))
	}
	defer unix.Close(mfd)
	for _, batch := range batches[1:] {
		if err := reconfigure(mfd, batch); err != nil {
			return fail("append branches to", err)
		}
	}
	if err := unix.MoveMount(mfd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fail("move_mount to", err)
	}
	return nil
}

// reconfigure passes a batch of options to the mount mfd.
func reconfigure(mfd int, batch []mountutil.Option) error {
	fsfd, err := unix.Fspick(mfd, "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("fspick: %w", err)
	}
	defer unix.Close(fsfd)
	if err = mountutil.SetOptions(fsfd, batch); err == nil {
		err = unix.FsconfigReconfigure(fsfd)
	}
	if err != nil {
		return mountutil.WithKernelLog(fsfd, err)
	}
	return nil
}

// RemoveXino removes the xino file of a mount. The kernel unlinks the file once it has opened it, but not if the mount fails.
func RemoveXino(path string) {
	if err := unix.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		logrus.Warnf("aufs: removing %s: %v", path, err)
	}
}
