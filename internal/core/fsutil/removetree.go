//go:build linux

package fsutil

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// RemoveFiles is store.RemoveTree for a directory in which certainly nothing is mounted.
func RemoveFiles(dir string) error {
	err := RemoveAll(dir)
	if errors.Is(err, unix.EPERM) {
		if err := MakeMutable(dir); err != nil {
			return err
		}
		err = RemoveAll(dir)
	}
	return err
}

// RemoveAll is os.RemoveAll for trees of any depth. os.RemoveAll keeps each directory open on its way down, and so fails if the tree is
// deeper than the number of files that the process may have open.
func RemoveAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, unix.EMFILE) {
		return err
	}
	if err := flatten(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// flatDepth is the greatest depth of a tree after flatten.
const flatDepth = 64

// flatten moves each directory that is deeper than flatDepth in the tree at root up to root itself, under a new name.
func flatten(root string) error {
	top, err := os.OpenFile(root, DirectoryFlags|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer top.Close()
	f := flattener{top: top}
	if f.todo, err = subdirectories(top); err != nil {
		return err
	}
	for len(f.todo) > 0 {
		name := f.todo[len(f.todo)-1]
		f.todo = f.todo[:len(f.todo)-1]
		if err := f.enter(top, name, 2); err != nil {
			return fmt.Errorf("flattening %s: %w", root, err)
		}
	}
	return nil
}

// flattener is the state of flatten.
type flattener struct {
	top *os.File
	// todo are the names of directories in top that have not been walked through yet.
	todo []string
	// moved numbers the new names.
	moved int
}

// enter walks through the directory name in parent. depth is the depth of the directories in it.
func (f *flattener) enter(parent *os.File, name string, depth int) error {
	fd, err := Retried(func() (int, error) {
		return unix.Openat(int(parent.Fd()), name, DirectoryFlags|unix.O_NOFOLLOW, 0)
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	names, err := subdirectories(dir)
	if err != nil {
		return err
	}
	for _, below := range names {
		if depth < flatDepth {
			err = f.enter(dir, below, depth+1)
		} else {
			err = f.lift(dir, below)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lift moves the directory name in dir to the top.
func (f *flattener) lift(dir *os.File, name string) error {
	for {
		f.moved++
		lifted := "deep-" + strconv.Itoa(f.moved)
		err := opened(dir).RenameNew(name, opened(f.top), lifted)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return err
		}
		f.todo = append(f.todo, lifted)
		return nil
	}
}

// opened returns dir as a Dir with the same descriptor. Closing the Dir does not close dir.
func opened(dir *os.File) Dir {
	return Dir{Fd: int(dir.Fd()), Path: dir.Name(), kept: true}
}

// subdirectories returns the names of the directories in dir.
func subdirectories(dir *os.File) ([]string, error) {
	all, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range all {
		st, err := StatIn(dir, name)
		if IgnoreGone(err) != nil {
			return nil, err
		}
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			names = append(names, name)
		}
	}
	return names, nil
}
