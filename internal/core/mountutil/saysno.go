//go:build linux

package mountutil

import (
	"errors"

	"golang.org/x/sys/unix"
)

// SaysNo tells if an error is what a kernel says, or a filter of system calls, that does not know one, and not about what it was asked
// for.
func SaysNo(err error) bool {
	for _, no := range []error{unix.ENOSYS, unix.EPERM, unix.EINVAL, unix.EOPNOTSUPP} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
