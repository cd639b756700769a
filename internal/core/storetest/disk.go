//go:build linux

package storetest

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the image
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/quota"
	"golang.org/x/sys/unix"
)

// quotaImage is an empty ext4 of 32 MB:
//
//	mkfs.ext4 -O quota,project -E quotatype=prjquota -J size=4 -N 12288 -m 0
//
//go:embed testdata/prjquota.img.gz
var quotaImage []byte

// QuotaDir returns an empty directory in which layers can have quotas: in the directory for temporary files if its file system has project
// quotas, and otherwise on a disk of 32 MB. It skips the test if the kernel has no quotas.
func QuotaDir(t *testing.T) string {
	t.Helper()
	NeedRoot(t)
	dir := t.TempDir()
	if quota.Check(dir) == nil {
		return dir
	}
	image := filepath.Join(t.TempDir(), "image")
	Must(t, UnpackQuotaImage(image))
	device, err := Attach(image)
	Must(t, err)
	defer device.Close()
	err = unix.Mount(device.Name(), dir, "ext4", 0, "prjquota")
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EROFS) {
		t.Skipf("this kernel has no project quotas on ext4 (CONFIG_QUOTA, CONFIG_QFMT_V2): mounting such a disk: %v", err)
	}
	Must(t, err)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting the disk with quotas: %v", errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)))
		}
	})
	return dir
}

// UnpackQuotaImage writes an image of an empty ext4 to path, on which layers can have quotas if it is mounted with prjquota. It leaves out the
// zeros, which are most of it.
func UnpackQuotaImage(path string) error {
	content, err := gzip.NewReader(bytes.NewReader(quotaImage))
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	piece := make([]byte, 1<<16)
	zeros := make([]byte, len(piece))
	for at := int64(0); ; at += int64(len(piece)) {
		_, err := io.ReadFull(content, piece)
		if errors.Is(err, io.EOF) {
			return f.Truncate(at)
		}
		if err == nil && !bytes.Equal(piece, zeros) {
			_, err = f.WriteAt(piece, at)
		}
		if err != nil {
			return err
		}
	}
}

// Attach attaches an image to a loop device, which goes away when it is neither open nor mounted.
func Attach(image string) (*os.File, error) {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, os.NewSyscallError("LOOP_CTL_GET_FREE", err)
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = configure(device, f)
		if err == nil {
			return device, nil
		}
		if err = errors.Join(err, device.Close()); !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
		// Somebody else has taken the device.
	}
}

// configure attaches an open image to a loop device.
func configure(device, image *os.File) error {
	config := unix.LoopConfig{Fd: uint32(image.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	err := unix.IoctlLoopConfigure(int(device.Fd()), &config)
	if !errors.Is(err, unix.EINVAL) {
		return os.NewSyscallError("LOOP_CONFIGURE", err)
	}
	// Linux before 5.8 has two calls in place of this one.
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_SET_FD, int(image.Fd())); err != nil {
		return os.NewSyscallError("LOOP_SET_FD", err)
	}
	err = unix.IoctlLoopSetStatus64(int(device.Fd()), &config.Info)
	if err != nil {
		err = errors.Join(err, unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0))
	}
	return os.NewSyscallError("LOOP_SET_STATUS64", err)
}

// DropCapability takes a capability from the calling thread.
func DropCapability(capability int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	data[capability/32].Effective &^= 1 << (capability % 32)
	return os.NewSyscallError("capset", unix.Capset(&header, &data[0]))
}
