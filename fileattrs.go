//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/containers/storage/pkg/system"
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

func (p pathXattrs) list() ([]string, error) { return system.Llistxattr(string(p)) }

func (p pathXattrs) get(name string) ([]byte, error) { return system.Lgetxattr(string(p), name) }

// fileXattrs are those of a file that is open.
type fileXattrs struct{ f *regularFile }

func (x fileXattrs) list() ([]string, error) {
	content, err := x.read("flistxattr", func(buffer []byte) (int, error) { return unix.Flistxattr(x.f.fd, buffer) })
	if err != nil || len(content) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00"), nil
}

func (x fileXattrs) get(name string) ([]byte, error) {
	content, err := x.read("fgetxattr", func(buffer []byte) (int, error) { return unix.Fgetxattr(x.f.fd, name, buffer) })
	if errors.Is(err, unix.ENODATA) {
		return nil, nil
	}
	return content, err
}

// read calls a system call with buffers until one is large enough.
func (x fileXattrs) read(op string, call func(buffer []byte) (int, error)) ([]byte, error) {
	var small [128]byte
	for buffer := small[:]; ; {
		n, err := call(buffer)
		if err == nil {
			return buffer[:n:n], nil
		}
		if errors.Is(err, unix.ERANGE) {
			// Without a buffer it tells the size.
			n, err = call(nil)
			buffer = make([]byte, n+len(small))
		}
		if err != nil {
			return nil, x.f.fail(op, err)
		}
	}
}

// listXattrs are the names of the attributes that path has, none if its file system has no attributes. Most files have none, and cost
// no memory.
func listXattrs(path string) ([]string, error) {
	var small [128]byte
	n, err := unix.Llistxattr(path, small[:])
	switch {
	case n == 0 && err == nil, errors.Is(err, unix.ENOTSUP):
		return nil, nil
	case err == nil:
		return strings.Split(strings.TrimSuffix(string(small[:n]), "\x00"), "\x00"), nil
	case errors.Is(err, unix.ERANGE):
		return system.Llistxattr(path)
	}
	return nil, &fs.PathError{Op: "llistxattr", Path: path, Err: err}
}
