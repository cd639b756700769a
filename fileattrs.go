//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrReader reads the extended attributes of one file.
type xattrReader interface {
	// list returns their names.
	list() ([]string, error)
	// get returns the value of one; nil if it is not there.
	get(name string) ([]byte, error)
}

// pathXattrs are those of the file with this path. No symbolic link is followed.
type pathXattrs string

func (p pathXattrs) list() ([]string, error) {
	content, err := sized(func(buffer []byte) (int, error) { return unix.Llistxattr(string(p), buffer) })
	if err != nil {
		return nil, &fs.PathError{Op: "llistxattr", Path: string(p), Err: err}
	}
	return xattrNames(content), nil
}

func (p pathXattrs) get(name string) ([]byte, error) {
	content, err := sized(func(buffer []byte) (int, error) { return unix.Lgetxattr(string(p), name, buffer) })
	if errors.Is(err, unix.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lgetxattr", Path: string(p), Err: err}
	}
	return content, nil
}

// set gives the file the attribute; flags are those of setxattr(2).
func (p pathXattrs) set(name string, value []byte, flags int) error {
	if err := unix.Lsetxattr(string(p), name, value, flags); err != nil {
		return &fs.PathError{Op: "lsetxattr", Path: string(p), Err: err}
	}
	return nil
}

// fileXattrs are those of a file that is open.
type fileXattrs struct{ f *regularFile }

func (x fileXattrs) list() ([]string, error) {
	content, err := sized(func(buffer []byte) (int, error) { return unix.Flistxattr(x.f.fd, buffer) })
	if err != nil {
		return nil, x.f.fail("flistxattr", err)
	}
	return xattrNames(content), nil
}

func (x fileXattrs) get(name string) ([]byte, error) {
	content, err := sized(func(buffer []byte) (int, error) { return unix.Fgetxattr(x.f.fd, name, buffer) })
	if errors.Is(err, unix.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, x.f.fail("fgetxattr", err)
	}
	return content, nil
}

// sized calls a system call with buffers until one is large enough. Most files have no attributes, and cost no memory.
func sized(call func(buffer []byte) (int, error)) ([]byte, error) {
	var small [128]byte
	for buffer := small[:]; ; {
		n, err := call(buffer)
		if err == nil {
			// An empty value is not nil: that stands for none.
			return append([]byte{}, buffer[:n]...), nil
		}
		if errors.Is(err, unix.ERANGE) {
			// Without a buffer it tells the size.
			n, err = call(nil)
			buffer = make([]byte, n+len(small))
		}
		if err != nil {
			return nil, err
		}
	}
}

// xattrNames are the names in what listxattr(2) returns.
func xattrNames(content []byte) []string {
	if len(content) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00")
}

// listXattrs are the names of the attributes that path has, none if its file system has no attributes.
func listXattrs(path string) ([]string, error) {
	names, err := pathXattrs(path).list()
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	return names, err
}
