//go:build linux

package fsutil

import (
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// ReadFile is os.ReadFile of a regular file that is no symbolic link, for small files, in as few calls as can be: a mount reads
// several.
func ReadFile(path string) ([]byte, error) {
	// Of a regular file, less than was asked for is the end.
	return readUntil(path, 1024, func(n, wanted int) bool { return n < wanted })
}

// mustBeRegular is an error if what is open is no regular file.
func mustBeRegular(fd int) error {
	var st unix.Stat_t
	_, err := Retried(func() (int, error) { return 0, unix.Fstat(fd, &st) })
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = ErrNotRegular
	}
	return err
}

// ReadProc is ReadFile for a file of proc, which gives what it has in pieces.
func ReadProc(path string) ([]byte, error) {
	return readUntil(path, 16384, func(n, _ int) bool { return n == 0 })
}

// readUntil reads into a buffer of size bytes, or more if need be, until end says so of how much a call has read, and wanted to.
func readUntil(path string, size int, end func(n, wanted int) bool) ([]byte, error) {
	// Nobody waits for a pipe to be written to. It would read as an empty file.
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := Retried(func() (int, error) { return unix.Open(path, flags, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if err := mustBeRegular(fd); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	content := make([]byte, 0, size)
	for {
		if len(content) == cap(content) {
			content = slices.Grow(content, cap(content))
		}
		wanted := cap(content) - len(content)
		n, err := Retried(func() (int, error) { return unix.Read(fd, content[len(content):cap(content)]) })
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		content = content[:len(content)+n]
		if end(n, wanted) {
			return content, nil
		}
	}
}
