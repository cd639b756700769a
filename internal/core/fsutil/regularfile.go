//go:build linux

package fsutil

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A RegularFile is an open regular file, and its own fs.FileInfo. An archive has tens of thousands of files. To make an os.File takes
// longer than to open a small file, because an os.File prepares for waiting, as on a pipe, and for being closed by the garbage collector.
type RegularFile struct {
	Fd   int
	dir  string // the path of the directory that has the file
	name string
	st   syscall.Stat_t
}

// ErrNotRegular says that something else is in the place of a regular file.
var ErrNotRegular = errors.New("not a regular file")

// OpenRegular opens the regular file name in an open directory. It also gets the file's status, from the open file, so that nobody has to
// look the file up again by a path.
func OpenRegular(dir *os.File, name string) (*RegularFile, error) {
	f := &RegularFile{dir: dir.Name(), name: name}
	path, err := locate(int(dir.Fd()), name)
	if err != nil {
		return nil, f.fail("open", err)
	}
	defer unix.Close(path)
	if f.Fd, err = OpenKind(path, &f.st, unix.S_IFREG); err != nil {
		return nil, f.fail("open", err)
	}
	return f, nil
}

// OpenQuietly is OpenRegular for a directory that nobody else is working in, where nobody can replace a regular file by a device just
// before it is opened. It takes half as long.
func OpenQuietly(dir *os.File, name string) (*RegularFile, error) {
	f := &RegularFile{dir: dir.Name(), name: name}
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	var err error
	if f.Fd, err = Retried(func() (int, error) { return unix.Openat(int(dir.Fd()), name, flags, 0) }); err != nil {
		return nil, f.fail("open", err)
	}
	_, err = Retried(func() (int, error) { return 0, syscall.Fstat(f.Fd, &f.st) })
	if err == nil && f.st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = ErrNotRegular
	}
	if err != nil {
		f.Close()
		return nil, f.fail("stat", err)
	}
	return f, nil
}

// locate opens the file name in an open directory with O_PATH, which only finds the file: it waits for no pipe, and no device notices. It
// follows no symbolic link.
func locate(dir int, name string) (fd int, err error) {
	return Retried(func() (int, error) { return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
}

// OpenKind opens for reading the file that locate has opened as path, if the file is of one of these kinds. It sets st to the result of
// fstat(2). It does not open a file of another kind, because that could wait forever, or make a device do something.
func OpenKind(path int, st *syscall.Stat_t, kinds ...uint32) (fd int, err error) {
	if _, err = Retried(func() (int, error) { return 0, syscall.Fstat(path, st) }); err != nil {
		return -1, err
	}
	if !slices.Contains(kinds, st.Mode&unix.S_IFMT) {
		return -1, ErrNotRegular
	}
	return openPlace(path)
}

// openPlace opens for reading the file that locate has opened as path.
func openPlace(path int) (fd int, err error) {
	place := "/proc/self/fd/" + strconv.Itoa(path)
	return Retried(func() (int, error) { return unix.Open(place, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
}

func (f *RegularFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: filepath.Join(f.dir, f.name), Err: err}
}

// Close closes the file.
func (f *RegularFile) Close() { _ = unix.Close(f.Fd) }

// Read implements io.Reader.
func (f *RegularFile) Read(p []byte) (int, error) {
	n, err := Retried(func() (int, error) { return unix.Read(f.Fd, p) })
	if err != nil {
		return 0, f.fail("read", err)
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Name implements fs.FileInfo, as do the methods below.
func (f *RegularFile) Name() string { return f.name }

// Size returns the size of the file's content.
func (f *RegularFile) Size() int64 { return f.st.Size }

// Mode returns the type, which is that of a regular file, and the permissions.
func (f *RegularFile) Mode() fs.FileMode { return fileMode(f.st.Mode) }

// ModTime returns the time when the content was last changed.
func (f *RegularFile) ModTime() time.Time { return time.Unix(f.st.Mtim.Unix()) }

// IsDir returns false.
func (f *RegularFile) IsDir() bool { return false }

// Sys returns the result of fstat(2).
func (f *RegularFile) Sys() any { return &f.st }
