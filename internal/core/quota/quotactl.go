//go:build linux

package quota

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of quotactl(2) and their flags, from linux/quota.h and linux/dqblk_xfs.h. Both ext4 and xfs know them.
const (
	getState    = 'X'<<8 + 5 // Q_XGETQSTAT
	getQuota    = 0x800007   // Q_GETQUOTA
	setQuota    = 0x800008   // Q_SETQUOTA
	typeProject = 2          // PRJQUOTA
	validLimits = 1 | 4      // QIF_BLIMITS | QIF_ILIMITS

	// stateEnforced is FS_QUOTA_PDQ_ENFD of fs_quota_stat.
	stateEnforced = 1 << 5
	// blockSize is the unit of limits of bytes.
	blockSize = 1024
)

// quotaBlock is struct if_dqblk of linux/quota.h.
type quotaBlock struct {
	bytesHard, bytesSoft, bytes    uint64 // the limits in blocks
	inodesHard, inodesSoft, inodes uint64
	bytesTime, inodesTime          uint64
	valid                          uint32
	_                              uint32
}

// get returns the usage and the limits of p on the file system of the directory dir.
func (p Project) get(dir string) (quotaBlock, error) {
	var b quotaBlock
	err := control(dir, getQuota, p, unsafe.Pointer(&b))
	if errors.Is(err, unix.ENOENT) {
		// Xfs has no record of the project.
		return quotaBlock{}, nil
	}
	return b, err
}

// Usage returns what the files of p take on the file system of the directory dir.
func (p Project) Usage(dir string) (Usage, error) {
	b, err := p.get(dir)
	return Usage{Bytes: b.bytes, Inodes: b.inodes}, err
}

// Limits returns the limits of p on the file system of the directory dir. Those of bytes are a multiple of 1024.
func (p Project) Limits(dir string) (Limits, error) {
	b, err := p.get(dir)
	return Limits{Bytes: b.bytesHard * blockSize, Inodes: b.inodesHard}, err
}

// SetLimits sets the limits of p on the file system of the directory dir.
func (p Project) SetLimits(dir string, l Limits) error {
	// Rounded up, because 0 is no limit. The soft limits are the same, so that there is no time of grace.
	blocks := l.Bytes/blockSize + min(l.Bytes%blockSize, 1)
	return control(dir, setQuota, p, unsafe.Pointer(&quotaBlock{
		bytesHard: blocks, bytesSoft: blocks, inodesHard: l.Inodes, inodesSoft: l.Inodes, valid: validLimits,
	}))
}

// isEnforced reports whether the file system of the directory dir enforces the limits of projects.
func isEnforced(dir string) (bool, error) {
	// This is struct fs_quota_stat: a byte for its version, a byte of padding, and the flags.
	var state [64]uint16
	err := control(dir, getState, 0, unsafe.Pointer(&state))
	return state[1]&stateEnforced != 0, err
}

// control calls quotactl_fd(2), or quotactl(2) if there is no such call (before Linux 5.14), or if a filter of system calls forbids it.
func control(dir string, command int, p Project, data unsafe.Pointer) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), uintptr(command<<8|typeProject), uintptr(p), uintptr(data), 0, 0)
	if errno == 0 {
		return nil
	}
	var reason error = errno
	if errno == unix.ENOSYS || errno == unix.EPERM {
		err = controlDevice(fd, command, p, data)
		switch {
		case err == nil:
			return nil
		case errno == unix.ENOSYS:
			// There is only the older call, so its answer is the reason.
			reason = err
		case !errors.Is(err, errno):
			reason = fmt.Errorf("%w: %w", errno, err)
		}
	}
	return fmt.Errorf("quota of project %d on the file system of %s: %w", p, dir, reason)
}

// controlDevice calls quotactl(2) for the block device of the file system that fd is on.
func controlDevice(fd, command int, p Project, data unsafe.Pointer) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if unix.Major(st.Dev) == 0 {
		return unix.ENOTBLK
	}
	// The device's own path may be missing in this mount namespace, so make a new one. Make it in /dev, because the store may be on a mount
	// with nodev, where no device can be used.
	device := filepath.Join("/dev", "aufs-quota-"+rand.Text())
	if err := unix.Mknod(device, unix.S_IFBLK|0o600, int(st.Dev)); err != nil {
		return &fs.PathError{Op: "mknod", Path: device, Err: err}
	}
	defer func() { _ = unix.Unlink(device) }()
	path, err := unix.BytePtrFromString(device)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL, uintptr(command<<8|typeProject), uintptr(unsafe.Pointer(path)), uintptr(p), uintptr(data), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
