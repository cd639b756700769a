//go:build linux

package fsutil

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SyncDir makes the names in a directory durable: an fsync of a file does not.
func SyncDir(dir string) error {
	f, err := os.OpenFile(dir, OpenDirectory&^unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// AtomicPrefix begins the names of the files that WriteFileAtomic makes on its way.
const AtomicPrefix = "file-"

// WriteFileAtomic makes the file path with content, whole and durable or not at all, by way of a file in tmp, a
// directory of the same file system.
func WriteFileAtomic(tmp, path string, content []byte) error {
	staged, err := StageFile(tmp, content)
	if err != nil {
		return err
	}
	return staged.Commit(path)
}

// A StagedFile is a file on its way, whose content is durable.
type StagedFile string

// StageFile is the first half of WriteFileAtomic.
func StageFile(tmp string, content []byte) (staged StagedFile, err error) {
	f, err := os.CreateTemp(tmp, AtomicPrefix)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(0o644); err != nil {
		return "", err
	}
	if _, err := f.Write(content); err != nil {
		return "", err
	}
	// Before the rename: a crash must not leave the name with none of the content.
	if err := f.Sync(); err != nil {
		return "", err
	}
	return StagedFile(f.Name()), f.Close()
}

// Commit is the second half. After an error the file is neither at path, unless there was one before, nor where it was.
func (s StagedFile) Commit(path string) error {
	_, before := os.Lstat(path)
	if err := os.Rename(string(s), path); err != nil {
		return errors.Join(err, s.Discard())
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		if errors.Is(before, fs.ErrNotExist) {
			// Not durable, and so not there.
			err = errors.Join(err, os.Remove(path))
		}
		return err
	}
	return nil
}

// Discard removes a file that is not committed.
func (s StagedFile) Discard() error { return os.Remove(string(s)) }

// Exchange swaps two directories.
func Exchange(a, b string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return nil
}

// SyncFS makes all that was written to the file system of an open directory durable: content, names and attributes. The kernel
// tells of what could not be written since the directory was opened.
func SyncFS(fd int, path string) error {
	err := unix.Syncfs(fd)
	if IsForbidden(err) {
		// That is all file systems, and nobody is told of what could not be written.
		unix.Sync()
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "syncfs", Path: path, Err: err}
	}
	return nil
}
