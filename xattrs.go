//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"slices"
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

func (p pathXattrs) list() ([]string, error)         { return system.Llistxattr(string(p)) }
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

// stripXattrs removes the attributes that overlayfs has set on the file name in dir for itself, in any of forms. Those of an overlayfs mounted inside of the
// layer, which the outer one writes with its own prefix twice, are the layer's content.
func stripXattrs(dir openedDir, name string, forms ...form) error {
	names, err := listXattrs(dir.reach(name))
	if err != nil {
		return dir.named(err)
	}
	return stripListed(dir, name, names, forms...)
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

// stripListed is stripXattrs of a file that has these attributes.
func stripListed(dir openedDir, name string, attrs []string, forms ...form) error {
	for _, attr := range attrs {
		if !slices.ContainsFunc(forms, func(f form) bool { return f.ownXattr(attr) }) {
			continue
		}
		if err := unix.Lremovexattr(dir.reach(name), attr); err != nil {
			return dir.failed("removing the attribute "+attr+" from", name, err)
		}
	}
	return nil
}

// ownXattr tells if overlayfs sets the attribute for itself, in form f.
func (f form) ownXattr(name string) bool {
	own, ok := strings.CutPrefix(name, f.xattrPrefix())
	return ok && !strings.HasPrefix(own, "overlay.")
}
