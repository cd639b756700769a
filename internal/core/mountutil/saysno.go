//go:build linux

package mountutil

import (
	"errors"

	"golang.org/x/sys/unix"
)

// SaysNo reports whether err is one that a kernel, or a filter of system calls, returns for a call that it does not know. Such an error is
// not about what the call was asked for.
func SaysNo(err error) bool {
	for _, no := range []error{unix.ENOSYS, unix.EPERM, unix.EINVAL, unix.EOPNOTSUPP} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
