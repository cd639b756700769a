//go:build linux

package faults

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NewCalls are system calls that the driver knows, and that an older kernel does not, or the author of a filter had not heard of, by name.
var NewCalls = map[string]uintptr{
	"statx": unix.SYS_STATX, "openat2": unix.SYS_OPENAT2, "renameat2": unix.SYS_RENAMEAT2, "syncfs": unix.SYS_SYNCFS,
	"fsopen": unix.SYS_FSOPEN, "fsconfig": unix.SYS_FSCONFIG, "fsmount": unix.SYS_FSMOUNT, "fspick": unix.SYS_FSPICK,
	"move_mount": unix.SYS_MOVE_MOUNT, "open_tree": unix.SYS_OPEN_TREE, "mount_setattr": unix.SYS_MOUNT_SETATTR,
	"quotactl_fd": unix.SYS_QUOTACTL_FD,
}

// Deny makes the system call with this number fail with errno from now on, in this process and in the children that it
// starts, as a filter does whose author had not heard of the call. This cannot be undone.
func Deny(number uintptr, errno unix.Errno) error {
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number, which comes first in struct seccomp_data
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: uint32(number)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// Install the filter on all threads.
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if failed != 0 {
		return fmt.Errorf("seccomp: %w", failed)
	}
	return nil
}
