//go:build linux

package aufs

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

// A regularFile is a regular file that is open, and the fs.FileInfo of it. An archive has tens of thousands of them: what os.File does to
// wait for pipes, and to be closed by whoever forgets it, takes longer than to open a small one.
type regularFile struct {
	fd   int
	dir  string // the path of the directory, and the name in it
	name string
	st   syscall.Stat_t
}

// errNotRegular: there is something else in the place of a regular file.
var errNotRegular = errors.New("it is not a regular file")

// openRegular opens a regular file in an open directory. All that there is to know of the file is asked of it then, and not looked for by
// a path once more.
func openRegular(dir *os.File, name string) (*regularFile, error) {
	f := &regularFile{dir: dir.Name(), name: name}
	path, err := locate(int(dir.Fd()), name)
	if err != nil {
		return nil, f.fail("open", err)
	}
	defer unix.Close(path)
	if f.fd, err = openKind(path, &f.st, unix.S_IFREG); err != nil {
		return nil, f.fail("open", err)
	}
	return f, nil
}

// openQuietly is openRegular where nobody else is at work, and nobody puts a device in the place of what was a regular file a moment ago.
// It takes half as long.
func openQuietly(dir *os.File, name string) (*regularFile, error) {
	f := &regularFile{dir: dir.Name(), name: name}
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	var err error
	if f.fd, err = retried(func() (int, error) { return unix.Openat(int(dir.Fd()), name, flags, 0) }); err != nil {
		return nil, f.fail("open", err)
	}
	_, err = retried(func() (int, error) { return 0, syscall.Fstat(f.fd, &f.st) })
	if err == nil && f.st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errNotRegular
	}
	if err != nil {
		f.close()
		return nil, f.fail("stat", err)
	}
	return f, nil
}

// locate opens whatever has the name in an open directory as no more than a place: nothing waits for a pipe, and no device notices.
// It follows no symbolic link.
func locate(dir int, name string) (fd int, err error) {
	return retried(func() (int, error) { return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
}

// openKind opens what locate has opened, for reading, if it is of one of these kinds of files, and fills st with what fstat(2) says of
// it. Else it is not opened: that can wait for ever, or make a device do something.
func openKind(path int, st *syscall.Stat_t, kinds ...uint32) (fd int, err error) {
	if _, err = retried(func() (int, error) { return 0, syscall.Fstat(path, st) }); err != nil {
		return -1, err
	}
	if !slices.Contains(kinds, st.Mode&unix.S_IFMT) {
		return -1, errNotRegular
	}
	return openPlace(path)
}

// openPlace opens for reading what locate has opened.
func openPlace(path int) (fd int, err error) {
	place := "/proc/self/fd/" + strconv.Itoa(path)
	return retried(func() (int, error) { return unix.Open(place, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
}

func (f *regularFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: filepath.Join(f.dir, f.name), Err: err}
}

// close says that no more is read of it.
func (f *regularFile) close() { _ = unix.Close(f.fd) }

// Read implements io.Reader.
func (f *regularFile) Read(p []byte) (int, error) {
	n, err := retried(func() (int, error) { return unix.Read(f.fd, p) })
	if err != nil {
		return 0, f.fail("read", err)
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Name implements fs.FileInfo, as do those that follow.
func (f *regularFile) Name() string { return f.name }

// Size is that of the file's content.
func (f *regularFile) Size() int64 { return f.st.Size }

// Mode is that of a regular file.
func (f *regularFile) Mode() fs.FileMode { return fileMode(f.st.Mode) }

// ModTime is when the content was changed.
func (f *regularFile) ModTime() time.Time { return time.Unix(f.st.Mtim.Unix()) }

// IsDir is false.
func (f *regularFile) IsDir() bool { return false }

// Sys is what fstat(2) has said.
func (f *regularFile) Sys() any { return &f.st }
