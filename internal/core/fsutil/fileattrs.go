//go:build linux

package fsutil

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// XattrReader reads the extended attributes of one file.
type XattrReader interface {
	// List returns the names of the attributes.
	List() ([]string, error)
	// Get returns the value of one attribute, or nil if the file does not have it.
	Get(name string) ([]byte, error)
}

// PathXattrs are the attributes of the file with this path. A symbolic link is not followed.
type PathXattrs string

// List implements XattrReader.
func (p PathXattrs) List() ([]string, error) {
	content, err := sized(func(buffer []byte) (int, error) { return unix.Llistxattr(string(p), buffer) })
	if err != nil {
		return nil, &fs.PathError{Op: "llistxattr", Path: string(p), Err: err}
	}
	return xattrNames(content), nil
}

// Get implements XattrReader.
func (p PathXattrs) Get(name string) ([]byte, error) {
	content, err := sized(func(buffer []byte) (int, error) { return unix.Lgetxattr(string(p), name, buffer) })
	if errors.Is(err, unix.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lgetxattr", Path: string(p), Err: err}
	}
	return content, nil
}

// Set sets an attribute of the file. flags are those of setxattr(2).
func (p PathXattrs) Set(name string, value []byte, flags int) error {
	if err := unix.Lsetxattr(string(p), name, value, flags); err != nil {
		return &fs.PathError{Op: "lsetxattr", Path: string(p), Err: err}
	}
	return nil
}

// FileXattrs are the attributes of an open file.
type FileXattrs struct{ File *RegularFile }

// List implements XattrReader.
func (x FileXattrs) List() ([]string, error) {
	content, err := sized(func(buffer []byte) (int, error) { return unix.Flistxattr(x.File.Fd, buffer) })
	if err != nil {
		return nil, x.File.fail("flistxattr", err)
	}
	return xattrNames(content), nil
}

// Get implements XattrReader.
func (x FileXattrs) Get(name string) ([]byte, error) {
	content, err := sized(func(buffer []byte) (int, error) { return unix.Fgetxattr(x.File.Fd, name, buffer) })
	if errors.Is(err, unix.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, x.File.fail("fgetxattr", err)
	}
	return content, nil
}

// sized calls a system call with larger and larger buffers, until one is large enough. The result is never nil: nil would mean that there
// is no such attribute.
func sized(call func(buffer []byte) (int, error)) ([]byte, error) {
	var small [128]byte
	for buffer := small[:]; ; {
		n, err := call(buffer)
		if err == nil {
			return buffer[:n:n], nil
		}
		if errors.Is(err, unix.ERANGE) {
			// Without a buffer, the call returns the size that is needed.
			n, err = call(nil)
			buffer = make([]byte, n+len(small))
		}
		if err != nil {
			return nil, err
		}
	}
}

// xattrNames returns the names in the result of listxattr(2).
func xattrNames(content []byte) []string {
	if len(content) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00")
}

// ListXattrs returns the names of the attributes of path. It returns none if the file system has no attributes. Most files have none, and
// for them ListXattrs allocates no memory.
func ListXattrs(path string) ([]string, error) {
	var small [128]byte
	n, err := unix.Llistxattr(path, small[:])
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		// Most likely the names are longer than the buffer.
		return PathXattrs(path).List()
	}
	return xattrNames(small[:n]), nil
}
