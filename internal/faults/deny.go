//go:build linux && (amd64 || arm64)

package faults

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Deny makes the system call with this number fail with errno from now on, in this process and in the children that it
// starts, as a filter does whose author had not heard of the call. This cannot be undone.
func Deny(number uintptr, errno unix.Errno) error {
	const (
		offsetNr, offsetArch = 0, 4
		load                 = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal                = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		give                 = unix.BPF_RET | unix.BPF_K
	)
	program := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: equal, Jf: 2, K: auditArch},
		{Code: load, K: offsetNr},
		{Code: equal, Jt: 1, K: uint32(number)},
		{Code: give, K: unix.SECCOMP_RET_ALLOW},
		{Code: give, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// Install the filter on all threads.
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if failed != 0 {
		return fmt.Errorf("seccomp: %w", failed)
	}
	return nil
}
