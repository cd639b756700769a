//go:build linux

package fsutil

import (
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// ReadFile is os.ReadFile for a small regular file that is no symbolic link. It makes as few calls as possible, because a mount reads
// several such files.
func ReadFile(path string) ([]byte, error) {
	// If a read of a regular file returns fewer bytes than wanted, it has reached the end.
	return readUntil(path, 1024, func(n, wanted int) bool { return n < wanted })
}

// mustBeRegular returns an error if the open file is not a regular file.
func mustBeRegular(fd int) error {
	var st unix.Stat_t
	_, err := Retried(func() (int, error) { return 0, unix.Fstat(fd, &st) })
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = ErrNotRegular
	}
	return err
}

// ReadProc is ReadFile for a file in /proc. A read of such a file may return fewer bytes than wanted before the end.
func ReadProc(path string) ([]byte, error) {
	return readUntil(path, 16384, func(n, _ int) bool { return n == 0 })
}

// readUntil reads until end reports true. After each read, end gets the number of bytes that were read, and the number that were wanted.
// The buffer begins with size bytes and grows when it is full.
func readUntil(path string, size int, end func(n, wanted int) bool) ([]byte, error) {
	// If a pipe is in the place of the file, O_NONBLOCK keeps open from waiting for a writer, and mustBeRegular refuses the pipe, which
	// would read as an empty file.
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
