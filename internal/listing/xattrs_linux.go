package listing

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxXattr is how many bytes the kernel allows for the names of a file's
// extended attributes together, and for one value: see xattr(7).
const maxXattr = 1 << 16

// XattrNames returns the names of the extended attributes of a file, or none if
// its file system has no attributes. It does not follow a symlink.
//
// The driver has functions like these. These are separate, so that a fault in
// the driver's functions is not in the tests as well.
func XattrNames(path string) ([]string, error) {
	// Most files have none.
	n, err := unix.Llistxattr(path, nil)
	if n > 0 {
		buffer := make([]byte, maxXattr)
		if n, err = unix.Llistxattr(path, buffer); n > 0 {
			return strings.Split(strings.TrimSuffix(string(buffer[:n]), "\x00"), "\x00"), nil
		}
	}
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return nil, &os.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	return nil, nil
}

// Xattr returns the value of an extended attribute of a file, or nil if the
// file has no such attribute. It does not follow a symlink.
func Xattr(path, name string) ([]byte, error) {
	buffer := make([]byte, maxXattr)
	n, err := unix.Lgetxattr(path, name, buffer)
	if errors.Is(err, unix.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "lgetxattr", Path: path, Err: err}
	}
	return buffer[:n:n], nil
}
