//go:build linux

package fsutil

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SyncDir makes the names in a directory durable. An fsync of a file does not do that.
func SyncDir(dir string) error {
	f, err := os.OpenFile(dir, OpenDirectory&^unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// AtomicPrefix begins the names of the temporary files of WriteFileAtomic, and of the temporary links of store.Home.ReplaceLink.
const AtomicPrefix = "file-"

// WriteFileAtomic makes the file path with content, wholly and durably, or not at all. First it makes a temporary file in the directory
// tmp, which must be on the same file system as path.
func WriteFileAtomic(tmp, path string, content []byte) error {
	staged, err := StageFile(tmp, content)
	if err != nil {
		return err
	}
	return staged.Commit(path)
}

// A StagedFile is the path of a temporary file whose content is durable.
type StagedFile string

// StageFile is the first half of WriteFileAtomic: it makes the temporary file.
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
	// Sync before the rename: a crash must not leave the name without the content.
	if err := f.Sync(); err != nil {
		return "", err
	}
	return StagedFile(f.Name()), f.Close()
}

// Commit is the second half: it renames the temporary file to path. After an error, the temporary file is gone, and there is a file at path
// only if there was one before.
func (s StagedFile) Commit(path string) error {
	_, before := os.Lstat(path)
	if err := os.Rename(string(s), path); err != nil {
		return errors.Join(err, s.Discard())
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		if errors.Is(before, fs.ErrNotExist) {
			// Do not leave a file that may not be durable.
			err = errors.Join(err, os.Remove(path))
		}
		return err
	}
	return nil
}

// Discard removes a temporary file that was not committed.
func (s StagedFile) Discard() error { return os.Remove(string(s)) }

// Exchange swaps two directories.
func Exchange(a, b string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return nil
}

// SyncFS makes everything durable that was written to the file system of an open directory: content, names and attributes. The kernel
// reports every write error since the directory was opened.
func SyncFS(fd int, path string) error {
	err := unix.Syncfs(fd)
	if IsForbidden(err) {
		// sync(2) syncs all file systems, and reports no write errors.
		unix.Sync()
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "syncfs", Path: path, Err: err}
	}
	return nil
}
