//go:build linux

package mountutil

import (
	"errors"

	"golang.org/x/sys/unix"
)

// SaysNo reports whether err may mean that the kernel, or a filter of system calls, does not know the call or its flags. An older call may
// then succeed.
func SaysNo(err error) bool {
	for _, no := range []error{unix.ENOSYS, unix.EPERM, unix.EINVAL, unix.EOPNOTSUPP} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
