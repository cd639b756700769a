//go:build linux

package fsutil

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// The names in an archive belong to a tree with a root directory of its own: a symbolic link in a name, absolute or not, leads to something
// in the tree. Unpacking resolves names like that, and so must everything that looks up the same names later.

// PlaceInRoot opens name as locate does, but resolves name as if the open directory root were the root directory of the process. It does
// not follow a symbolic link at the end of name.
func PlaceInRoot(root int, name string) (fd int, err error) {
	name = strings.TrimLeft(name, "/")
	if name == "" {
		name = "."
	}
	fd, err = Retried(func() (int, error) {
		return unix.Openat2(root, name, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
	})
	// While something is being renamed, anywhere, the kernel may not know where a ".." leads to, and returns EAGAIN.
	if IsForbidden(err) || errors.Is(err, unix.EAGAIN) {
		return walkInRoot(root, name)
	}
	return fd, err
}

// PlaceWithoutLinks is PlaceInRoot for a relative name without symbolic links in it. Any error may mean that name has a symbolic link in it
// after all. Without openat2(2), it may also mean that there is a ".." in it.
func PlaceWithoutLinks(root int, name string) (fd int, err error) {
	fd, err = Retried(func() (int, error) {
		return unix.Openat2(root, name, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
	})
	if IsForbidden(err) {
		return stepBeneath(root, name, unix.O_PATH)
	}
	return fd, err
}

// mostLinks is how many symbolic links the kernel follows in one name.
const mostLinks = 40

// walkInRoot is PlaceInRoot without openat2(2): it goes from one directory to the next.
func walkInRoot(root int, name string) (fd int, err error) {
	w := rootWalk{root: root}
	defer w.leaveTo(0)
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			w.leaveTo(len(w.dirs) - 1)
			continue
		}
		if len(todo) == 0 {
			return locate(w.here(), next)
		}
		fd, target, err := w.look(next)
		if err != nil {
			return -1, err
		}
		if target != "" {
			if links++; links > mostLinks {
				return -1, unix.ELOOP
			}
			if strings.HasPrefix(target, "/") {
				w.leaveTo(0)
			}
			todo = append(strings.Split(target, "/"), todo...)
		} else {
			w.dirs = append(w.dirs, fd)
		}
	}
	return locate(w.here(), ".")
}

// A rootWalk is the position of walkInRoot. dirs are the open directories that lead to it from root.
type rootWalk struct {
	root int
	dirs []int
}

func (w *rootWalk) here() int {
	if len(w.dirs) == 0 {
		return w.root
	}
	return w.dirs[len(w.dirs)-1]
}

// leaveTo goes up until n directories are left, but never above the root.
func (w *rootWalk) leaveTo(n int) {
	for len(w.dirs) > max(n, 0) {
		_ = unix.Close(w.here()) // nothing was done with it
		w.dirs = w.dirs[:len(w.dirs)-1]
	}
}

// look opens the file name in the current directory. If it is a symbolic link, look returns its target, and no descriptor.
func (w *rootWalk) look(name string) (fd int, target string, err error) {
	if fd, err = locate(w.here(), name); err != nil {
		return -1, "", err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		target, err = readPlace(fd)
	}
	if err != nil || target != "" {
		_ = unix.Close(fd) // nothing was done with it
		fd = -1
	}
	return fd, target, err
}

// readPlace returns the target of the symbolic link that locate has opened as fd.
func readPlace(fd int) (string, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", target)
	if err != nil {
		return "", err
	}
	return string(target[:n]), nil
}
