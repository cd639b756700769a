//go:build linux

package differential

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// clock returns the time of operation number n of a script. It is in whole
// seconds, because aufs cuts the times that it sets to seconds.
func clock(n int) time.Time { return time.Unix(1_000_000_000+int64(n), 0) }

// changed returns the paths whose time of modification the operation sets: of
// the files that it makes or writes, and of the directories in which it adds or
// removes a name. It leaves out the root, because the driver has files of its
// own there.
func (op Op) changed() []string {
	v := verbs[op.Verb]
	var paths []string
	for _, i := range v.changes {
		paths = append(paths, op.Args[i])
	}
	for _, i := range v.changesDir {
		if dir := filepath.Dir(op.Args[i]); dir != "." {
			paths = append(paths, dir)
		}
	}
	return paths
}

// dirsAbove returns the directories above paths, without the root.
func dirsAbove(paths []string) []string {
	var dirs []string
	for _, path := range paths {
		for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// stamp sets the time of modification of files in the tree at root.
func stamp(root string, paths []string, now time.Time) error {
	for _, path := range paths {
		err := setTime(filepath.Join(root, path), now)
		if err != nil {
			return fmt.Errorf("set the time of %q: %w", path, err)
		}
	}
	return nil
}

// setTime sets both times of a file, and does not follow a symlink.
func setTime(path string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// hardLinks are files of the model that had several names when the layer was
// begun, so that overlayfs finds them in a lower layer. They are held open,
// because an inode number means another file once its file is gone.
type hardLinks map[uint64]*os.File

// findHardLinks returns the files with several names in the tree at root.
func findHardLinks(root string) (hardLinks, error) {
	found := hardLinks{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := lstat(path)
		if err != nil || st.Nlink < 2 || found[st.Ino] != nil {
			return err
		}
		fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		found[st.Ino] = os.NewFile(uintptr(fd), path)
		return nil
	})
	return found, err
}

func (h hardLinks) close() {
	for _, f := range h {
		_ = f.Close() // it was only looked at
	}
}

// split does to the tree at root what overlayfs does when it copies up a file:
// the name path gets a file of its own. Files with one name, and files that the
// layer itself has, stay as they are.
func (h hardLinks) split(root, path string) error {
	full := filepath.Join(root, path)
	st, err := lstat(full)
	if err != nil {
		return err
	}
	if h[st.Ino] == nil {
		return nil
	}
	if st.Nlink < 2 {
		// The file's other names are gone.
		return h.keep(root, path)
	}
	dir, err := os.Lstat(filepath.Dir(full))
	if err != nil {
		return err
	}
	const own = ".own"
	return errors.Join(
		copyTree(root, path, own),
		unix.Rename(filepath.Join(root, own), full),
		setTime(filepath.Dir(full), dir.ModTime()))
}

// keep is split for a backend that copies up all names of a file. The file is
// then no longer a lower file, whichever backend mounts the layer next.
func (h hardLinks) keep(root, path string) error {
	st, err := lstat(filepath.Join(root, path))
	if err != nil {
		return err
	}
	if f := h[st.Ino]; f != nil {
		_ = f.Close() // it was only looked at
		delete(h, st.Ino)
	}
	return nil
}

func lstat(path string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return st, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st, nil
}

// otherNames returns all names of the file path in the tree at root, including
// path. A directory has one name.
func otherNames(root, path string) ([]string, error) {
	file, err := lstat(filepath.Join(root, path))
	if err != nil {
		return nil, err
	}
	if file.Nlink < 2 || file.Mode&unix.S_IFMT == unix.S_IFDIR {
		return []string{path}, nil
	}
	var names []string
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := lstat(name)
		if err != nil || st.Ino != file.Ino {
			return err
		}
		rel, err := filepath.Rel(root, name)
		names = append(names, rel)
		return err
	})
	return names, err
}
