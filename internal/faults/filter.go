//go:build linux && (amd64 || arm64)

package faults

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launchVariable is the environment variable with the file descriptor of the socket over which Launch hands over the
// listener.
const launchVariable = "FAULTS_LISTENER_SOCKET"

// Launch does nothing in a program that Run has not started. In a program that Run has started, Launch installs the
// filter, hands over its listener, and runs the program anew, so that all of its system calls are filtered from the
// first one on. In this case it does not return.
func Launch() {
	socket, ok := os.LookupEnv(launchVariable)
	if !ok {
		return
	}
	fmt.Fprintln(os.Stderr, "faults:", launch(socket))
	os.Exit(1)
}

func launch(socket string) error {
	fd, err := strconv.Atoi(socket)
	if err != nil {
		return err
	}
	// A filter belongs to a thread. execve(2) ends all threads except the one that calls it, so that must be this one.
	runtime.LockOSThread()
	listener, err := install()
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(fd, []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
		return fmt.Errorf("handing over the listener: %w", err)
	}
	unix.CloseOnExec(listener)
	unix.CloseOnExec(fd)
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, launchVariable+"=") })
	// A goroutine that is preempted by a signal would make its call a second time.
	env = append(env, "GODEBUG=asyncpreemptoff=1")
	return fmt.Errorf("running the program anew: %w", syscall.Exec("/proc/self/exe", os.Args, env))
}

// install installs the filter on the calling thread, and returns its listener.
func install() (int, error) {
	program := filterProgram()
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	for _, flags := range []uintptr{
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
		// Kernels before Linux 5.19 do not have the other flag.
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
	} {
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		if errno == 0 {
			return int(fd), nil
		}
		if !errors.Is(errno, unix.EINVAL) {
			return 0, fmt.Errorf("seccomp: %w", errno)
		}
	}
	return 0, fmt.Errorf("seccomp: %w", unix.EINVAL)
}

// filterProgram returns the filter. The calls that are held wait for the listener, and all others are allowed.
func filterProgram() []unix.SockFilter {
	const (
		offsetNr, offsetArch = 0, 4
		load                 = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal                = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		give                 = unix.BPF_RET | unix.BPF_K
	)
	numbers := slices.Sorted(maps.Keys(kinds))
	numbers = slices.AppendSeq(numbers, maps.Keys(legacyKinds))
	program := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: equal, Jt: 1, K: auditArch},
		{Code: give, K: unix.SECCOMP_RET_ALLOW},
		{Code: load, K: offsetNr},
	}
	for i, nr := range numbers {
		// Jump past the remaining comparisons and the instruction that allows the call.
		program = append(program, unix.SockFilter{Code: equal, Jt: uint8(len(numbers) - i), K: uint32(nr)})
	}
	return append(program,
		unix.SockFilter{Code: give, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: give, K: unix.SECCOMP_RET_USER_NOTIF})
}
