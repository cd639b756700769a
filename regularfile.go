//go:build linux

package aufs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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
	// In the place of the file there may be a pipe by now, which nobody is to wait for.
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
func (f *regularFile) Mode() fs.FileMode {
	mode := fs.FileMode(f.st.Mode & 0o777)
	if f.st.Mode&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if f.st.Mode&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if f.st.Mode&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// ModTime is when the content was changed.
func (f *regularFile) ModTime() time.Time { return time.Unix(f.st.Mtim.Unix()) }

// IsDir is false.
func (f *regularFile) IsDir() bool { return false }

// Sys is what fstat(2) has said.
func (f *regularFile) Sys() any { return &f.st }
