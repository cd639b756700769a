//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// setUp makes the initramfs into the system that programs expect.
func setUp() error {
	if err := leaveRootfs(); err != nil {
		return err
	}
	if err := mountKernels(); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	if out, err := exec.Command("/bin/busybox", "--install", "-s", "/bin").CombinedOutput(); err != nil {
		return fmt.Errorf("busybox --install: %w: %s", err, out)
	}
	return nil
}

// mountKernels mounts the file systems that need no disk.
func mountKernels() error {
	for _, m := range []struct{ fs, dir string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"tmpfs", "/dev/shm"},
		{"tmpfs", "/run"},
	} {
		if err := mountOn(m.fs, m.fs, m.dir); err != nil {
			return err
		}
	}
	return nil
}

// leaveRootfs makes a bind mount of the initramfs the root directory. Programs
// that unpack archives call pivot_root(2), which cannot leave the root of the
// initramfs itself.
func leaveRootfs() error {
	if err := unix.Mount("/", "/newroot", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the new root: %w", err)
	}
	return changeRoot("/newroot")
}

// changeRoot moves the mount at dir over the root directory. Afterwards this process is in it, and not in a chroot for the
// kernel, which lets no program in a chroot make a user namespace.
func changeRoot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the new root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change to the new root: %w", err)
	}
	return unix.Chdir("/")
}

// mountTmp mounts the file system under test.
func mountTmp(plan wire.Plan) error {
	source := "/dev/vda"
	if plan.FS == "tmpfs" {
		source = "tmpfs"
	}
	var err error = unix.EINVAL
	if plan.FS == "xfs" {
		// Tests of quotas use the project quotas of this xfs. On other file systems they make a disk of their own, an
		// ext4.
		err = mountWith("prjquota", plan.FS, source, wire.TmpDir)
	}
	if errors.Is(err, unix.EINVAL) {
		// Not xfs, or a kernel without CONFIG_XFS_QUOTA.
		err = mountOn(plan.FS, source, wire.TmpDir)
	}
	if err != nil {
		return err
	}
	return os.Chmod(wire.TmpDir, 0o777|os.ModeSticky)
}

func mountOn(fs, source, dir string) error { return mountWith("", fs, source, dir) }

// mountWith is mountOn with options of the file system.
func mountWith(options, fs, source, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, dir, fs, 0, options); err != nil {
		return fmt.Errorf("mount %s as %s on %s: %w", source, fs, dir, err)
	}
	return nil
}
