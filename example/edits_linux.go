package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// applyEdits makes the edits in the directory tree at root, a mounted container
// or a plain directory.
func applyEdits(root string, edits []edit, done func(int64)) error {
	for _, e := range edits {
		if err := e.apply(root); err != nil {
			return fmt.Errorf("%s %s: %w", e.Op, e.Path, err)
		}
		done(1)
	}
	return nil
}

// apply makes one edit.
func (e edit) apply(root string) error {
	name, to := filepath.Join(root, e.Path), filepath.Join(root, e.To)
	switch e.Op {
	case opAppend:
		return write(name, os.O_APPEND, e.Text)
	case opOverwrite:
		return write(name, os.O_CREATE|os.O_TRUNC, e.Text)
	case opChmod:
		return unix.Chmod(name, e.Mode)
	case opChown:
		return os.Lchown(name, editUID, editGID)
	case opTouch:
		return setMtime(name, editTime)
	case opXattr:
		return unix.Lsetxattr(name, "user.example", []byte(e.Text), 0)
	case opRemove:
		return os.RemoveAll(name)
	case opReplaceDir:
		return replaceDir(name)
	case opRename:
		return os.Rename(name, to)
	case opLink:
		return os.Link(name, to)
	case opSymlink:
		return os.Symlink(e.To, name)
	case opMkdir:
		return makeDir(name, e.Mode)
	case opFifo:
		return unix.Mkfifo(name, e.Mode)
	default:
		return errors.New("no such edit")
	}
}

// write writes text and sets the file's time.
func write(name string, flags int, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|flags, 0o644)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return setMtime(name, editTime)
}

// makeDir makes a directory with the given mode, regardless of the umask.
func makeDir(name string, mode uint32) error {
	if err := os.Mkdir(name, 0o700); err != nil {
		return err
	}
	return unix.Chmod(name, mode)
}

// replaceDir removes a directory and makes another one in its place. The new
// directory has a file with a name that the old one may have had too.
func replaceDir(name string) error {
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	if err := makeDir(name, 0o755); err != nil {
		return err
	}
	for file, text := range map[string]string{"new": "new\n", "both": "the container's\n"} {
		if err := write(filepath.Join(name, file), os.O_CREATE, text); err != nil {
			return err
		}
	}
	return nil
}
