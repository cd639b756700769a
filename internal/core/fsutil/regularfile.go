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

// A RegularFile is a regular file that is open, and the fs.FileInfo of it. An archive has tens of thousands of them: what os.File does to
// wait for pipes, and to be closed by whoever forgets it, takes longer than to open a small one.
type RegularFile struct {
	Fd   int
	dir  string // the path of the directory, and the name in it
	name string
	st   syscall.Stat_t
}

// ErrNotRegular says that something else is in the place of a regular file.
var ErrNotRegular = errors.New("it is not a regular file")

// OpenRegular opens a regular file in an open directory. All that there is to know of the file is asked of it then, and not looked for by
// a path once more.
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

// OpenQuietly is OpenRegular where nobody else is at work, and nobody puts a device in the place of what was a regular file a moment ago.
// It takes half as long.
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

// locate opens whatever has the name in an open directory as no more than a place: nothing waits for a pipe, and no device notices.
// It follows no symbolic link.
func locate(dir int, name string) (fd int, err error) {
	return Retried(func() (int, error) { return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
}

// OpenKind opens what locate has opened, for reading, if it is of one of these kinds of files, and fills st with what fstat(2) says of
// it. Else it is not opened: that can wait for ever, or make a device do something.
func OpenKind(path int, st *syscall.Stat_t, kinds ...uint32) (fd int, err error) {
	if _, err = Retried(func() (int, error) { return 0, syscall.Fstat(path, st) }); err != nil {
		return -1, err
	}
	if !slices.Contains(kinds, st.Mode&unix.S_IFMT) {
		return -1, ErrNotRegular
	}
	return openPlace(path)
}

// openPlace opens for reading what locate has opened.
func openPlace(path int) (fd int, err error) {
	place := "/proc/self/fd/" + strconv.Itoa(path)
	return Retried(func() (int, error) { return unix.Open(place, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
}

func (f *RegularFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: filepath.Join(f.dir, f.name), Err: err}
}

// Close says that no more is read of it.
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

// Name implements fs.FileInfo, as do those that follow.
func (f *RegularFile) Name() string { return f.name }

// Size is that of the file's content.
func (f *RegularFile) Size() int64 { return f.st.Size }

// Mode is that of a regular file.
func (f *RegularFile) Mode() fs.FileMode { return fileMode(f.st.Mode) }

// ModTime is when the content was changed.
func (f *RegularFile) ModTime() time.Time { return time.Unix(f.st.Mtim.Unix()) }

// IsDir is false.
func (f *RegularFile) IsDir() bool { return false }

// Sys is what fstat(2) has said.
func (f *RegularFile) Sys() any { return &f.st }
