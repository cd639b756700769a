//go:build linux

package overlayfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// The lower directories of a deep stack are named by the numbers of their descriptors. In a thread whose working directory is
// /proc/self/fd, the bare numbers are paths. In this way, as many directories as overlayfs takes, 500, fit into one mount(2).

// selfFds begins the paths of the process's descriptors.
const selfFds = "/proc/self/fd/"

// mountNumbered mounts with mount(2) and numbers for the lower directories. mountinfo shows these numbers.
func (m Mount) mountNumbered() error {
	numbers, closeAll, err := openPaths(m.Lowers)
	defer closeAll()
	if err != nil {
		return err
	}
	err = amongDescriptors(func() error { return m.mountNamed(numbers) })
	if !errors.Is(err, errNotAmong) {
		return err
	}
	for i := range numbers {
		numbers[i] = selfFds + numbers[i]
	}
	if aerr := m.mountNamed(numbers); aerr != nil {
		return fmt.Errorf("%w; %w", aerr, err)
	}
	return nil
}

// mountNamed calls mount(2) with these names for the lower directories.
func (m Mount) mountNamed(lowers []string) error {
	data := m.data(lowers)
	if len(data) >= unix.Getpagesize() {
		return m.fail("mount", fmt.Errorf("%d lower directories do not fit into one call: %w", len(lowers), unix.E2BIG))
	}
	if err := unix.Mount("none", m.Target, "overlay", m.Flags, data); err != nil {
		return m.fail("mount", err)
	}
	return nil
}

// openPaths opens directories, and returns the numbers of the descriptors. closeAll closes the descriptors, and has to be called even after
// an error.
func openPaths(dirs []string) (numbers []string, closeAll func(), err error) {
	fds := make([]int, 0, len(dirs))
	closeAll = func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	for _, dir := range dirs {
		fd, err := openPath(dir)
		if err != nil {
			return nil, closeAll, err
		}
		fds = append(fds, fd)
		numbers = append(numbers, strconv.Itoa(fd))
	}
	return numbers, closeAll, nil
}

// openPath opens a directory with O_PATH: nothing is read from it.
func openPath(dir string) (int, error) {
	fd, err := fsutil.Retried(func() (int, error) { return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return fd, nil
}

// errNotAmong says that amongDescriptors cannot work: this process is not permitted to give a thread a working directory of its own, or the
// thread is in another mount namespace.
var errNotAmong = errors.New("no thread of this mount namespace can have /proc/self/fd as its working directory")

// amongDescriptors runs do on a thread whose working directory is /proc/self/fd. The thread ends afterwards.
func amongDescriptors(do func() error) error {
	var caller unix.Stat_t
	if err := unix.Stat(ownMountNamespace, &caller); err != nil {
		return fmt.Errorf("%w: %w", errNotAmong, err)
	}
	result := make(chan error, 1)
	go fsutil.OnOtherThread(func() {
		if err := enterDescriptors(caller); err != nil {
			result <- fmt.Errorf("%w: %w", errNotAmong, err)
			return
		}
		result <- fsutil.Recovered(do)
	})
	return <-result
}

const ownMountNamespace = "/proc/thread-self/ns/mnt"

// enterDescriptors makes /proc/self/fd the working directory of the calling thread alone. It returns an error if the thread is not in the
// mount namespace of the caller: a mount made in another namespace would be of no use to the caller.
func enterDescriptors(caller unix.Stat_t) error {
	var own unix.Stat_t
	if err := unix.Stat(ownMountNamespace, &own); err != nil {
		return err
	}
	if own.Dev != caller.Dev || own.Ino != caller.Ino {
		return unix.EXDEV
	}
	// The other threads go on sharing their working directory and umask.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Chdir(selfFds); err != nil {
		return fmt.Errorf("chdir: %w", err)
	}
	return nil
}
