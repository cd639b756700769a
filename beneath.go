//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A container may be at work in a tree that the driver looks into. What is here finds its way through directories: a path may
// be longer than the kernel takes in one call, and what opens a directory lets no symbolic link lead out of the tree.

// openDir opens the directory rel of the tree at root, and nothing but a directory. It follows no symbolic link, neither root
// nor below it; one in the place of a directory is ENOTDIR.
func openDir(root, rel string) (*os.File, error) {
	t := walkedTree{root: root}
	defer t.close()
	return t.openDir(rel)
}

// A walkedTree is a tree of which directories are opened, its root once for all.
type walkedTree struct {
	root   string
	fd     int // of the root, once opened is true
	opened bool
}

// close says that no more directories are wanted.
func (t *walkedTree) close() {
	if t.opened {
		_ = unix.Close(t.fd) // it was only read
	}
}

// openDir is the function openDir.
func (t *walkedTree) openDir(rel string) (*os.File, error) {
	fd, err := t.openBeneath(rel)
	if isForbidden(err) {
		fd, err = openStepwise(t.root, rel)
	}
	if err != nil {
		return nil, t.cannotOpen(rel, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(t.root, rel)), nil
}

// open is openDir for an openedDir, which is read from its beginning. It may be the root that t keeps.
func (t *walkedTree) open(rel string) (dir openedDir, err error) {
	fd, err := t.openListed(rel)
	if isForbidden(err) {
		fd, err = openStepwise(t.root, rel)
	}
	if err != nil {
		return dir, t.cannotOpen(rel, err)
	}
	return openedDir{fd: fd, path: filepath.Join(t.root, rel), kept: t.opened && fd == t.fd}, nil
}

// isForbidden tells if an error of a system call is that the kernel does not know it, or that a filter forbids it: seccomp(2) says ENOSYS
// or EPERM of a call that its author had not heard of. EPERM can also be about the file; an older call says the same of it then.
func isForbidden(err error) bool { return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) }

// cannotOpen makes an error of openBeneath one that tells of the directory rel.
func (t *walkedTree) cannotOpen(rel string, err error) error {
	if errors.Is(err, unix.ELOOP) {
		err = unix.ENOTDIR
	}
	return &fs.PathError{Op: "open", Path: filepath.Join(t.root, rel), Err: err}
}

// openStepwise opens the directory rel of the tree at root without openat2(2), as on a kernel before 5.6: one after the other.
func openStepwise(root, rel string) (fd int, err error) {
	if fd, err = openTree(root); err != nil || rel == "." || rel == "" {
		return fd, err
	}
	for name := range strings.SplitSeq(rel, "/") {
		above := fd
		fd, err = retried(func() (int, error) { return unix.Openat(above, name, directoryFlags|unix.O_NOFOLLOW, 0) })
		_ = unix.Close(above) // it was only read
		if err != nil {
			return -1, err
		}
	}
	return fd, nil
}

// directoryFlags are those of open(2) for a directory that is to be read.
const directoryFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC

// openBeneath opens rel in as few calls as its length allows: a call for each directory of the path would make a walk of a
// deep tree slow.
func (t *walkedTree) openBeneath(rel string) (fd int, err error) {
	if rel == "." || rel == "" {
		return openTree(t.root)
	}
	if err := t.openRoot(); err != nil {
		return -1, err
	}
	fd = t.fd
	for rest := rel; err == nil && rest != ""; {
		piece := rest
		if len(piece) >= unix.PathMax {
			piece = piece[:strings.LastIndexByte(piece[:unix.PathMax-1], '/')+1]
		}
		rest = rest[len(piece):]
		above := fd
		if piece == "" {
			rest, err = "", unix.ENAMETOOLONG
		} else {
			fd, err = retried(func() (int, error) { return openat2Dir(above, piece) })
		}
		if above != t.fd {
			_ = unix.Close(above) // it was only read
		}
	}
	return fd, err
}

// openRoot opens the root of the tree, unless it is open.
func (t *walkedTree) openRoot() (err error) {
	if !t.opened {
		t.fd, err = openTree(t.root)
		t.opened = err == nil
	}
	return err
}

// openTree opens a directory to be read, or for what is in it to be named from there, and no symbolic link to one.
func openTree(root string) (fd int, err error) {
	return retried(func() (int, error) { return unix.Open(root, directoryFlags|unix.O_NOFOLLOW, 0) })
}

// openat2Dir opens a directory below an open one, and lets no symbolic link lead out.
func openat2Dir(above int, rel string) (int, error) {
	return unix.Openat2(above, rel, &unix.OpenHow{Flags: directoryFlags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
}

// retried makes a call again that a signal has interrupted, as package os does: a file system in user space, or on another
// host, may be slow to open a file.
func retried(open func() (fd int, err error)) (fd int, err error) {
	for {
		if fd, err = open(); !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// within is a path, never long, of the file name in an open directory; name may be ".". It is for calls that take no file
// descriptor.
func within(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// A listedDir is what a directory has, and what it was when it was opened.
type listedDir struct {
	entries []fs.DirEntry
	st      syscall.Stat_t
}

// listed reads a directory that was just opened.
func (d openedDir) listed() (listed listedDir, err error) {
	if listed.st, err = d.stat(); err == nil {
		listed.entries, err = d.list()
	}
	return listed, err
}

// openListed is openBeneath of a directory that is to be read from its beginning. It may be t.fd.
func (t *walkedTree) openListed(rel string) (fd int, err error) {
	if rel != "." && rel != "" {
		return t.openBeneath(rel)
	}
	if !t.opened {
		err = t.openRoot()
		return t.fd, err
	}
	_, err = unix.Seek(t.fd, 0, unix.SEEK_SET)
	return t.fd, err
}

// openBelow opens the directory rel of the tree at root.
func openBelow(root, rel string) (openedDir, error) {
	t := walkedTree{root: root}
	dir, err := t.open(rel)
	// Whoever closes the directory closes the root, if that is it.
	if dir.kept {
		dir.kept = false
		return dir, err
	}
	t.close()
	return dir, err
}

// mkdirBeneath makes the directory rel of the tree at root, for its owner alone; "." is root itself.
func mkdirBeneath(root, rel string) error {
	if rel == "." {
		return anywhere.mkdir(root)
	}
	dir, err := openBelow(root, filepath.Dir(rel))
	if err != nil {
		return err
	}
	defer dir.close()
	return dir.mkdir(filepath.Base(rel))
}

// statIn is lstat(2) of the file name in an open directory.
func statIn(dir *os.File, name string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return &st, nil
}

// statBeneath is lstat(2) of the file rel in the tree at root.
func statBeneath(root, rel string) (*unix.Stat_t, error) {
	dir, err := openDir(root, filepath.Dir(rel))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return statIn(dir, filepath.Base(rel))
}

// setTimesBeneath gives the file rel of the tree at root times of access and modification, as utimensat(2) takes them. It
// follows no symbolic link.
func setTimesBeneath(root, rel string, times []unix.Timespec) error {
	dir, err := openDir(root, filepath.Dir(rel))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.UtimesNanoAt(int(dir.Fd()), filepath.Base(rel), times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "setting the times of", Path: filepath.Join(root, rel), Err: err}
	}
	return nil
}

// walkBeneath calls visit for all that is in the tree at root, but for root itself: a directory before what is in it. It gets
// the open directory that the file is in. What is deleted meanwhile is passed over, and so is the content of a directory for
// which visit returns fs.SkipDir.
func walkBeneath(root string, visit func(dir *os.File, rel string, st *unix.Stat_t) error) error {
	return walkDirBeneath(root, ".", visit)
}

func walkDirBeneath(root, rel string, visit func(dir *os.File, rel string, st *unix.Stat_t) error) error {
	dir, err := openDir(root, rel)
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		_ = dir.Close() // it was only read
		return err
	}
	var below []string
	for _, name := range names {
		st, err := statIn(dir, name)
		if err == nil {
			err = visit(dir, filepath.Join(rel, name), st)
			if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
				below = append(below, name)
			}
		}
		if err = ignoreGone(err); err != nil && !errors.Is(err, fs.SkipDir) {
			_ = dir.Close() // it was only read
			return err
		}
	}
	// However deep the tree is, no more than one of its directories is open at a time.
	if err := dir.Close(); err != nil {
		return err
	}
	for _, name := range below {
		if err := walkDirBeneath(root, filepath.Join(rel, name), visit); ignoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// ignoreGone drops the error of a file that is not there, or not any more: a mount that is walked may be in use, and its
// directories be deleted, or replaced by files.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

// openDirectory are the flags to open a directory with, for its lock.
const openDirectory = os.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW

// lstatOf is os.Lstat for what is asked often: that takes a sixth longer.
func lstatOf(path string) (st unix.Stat_t, err error) {
	if _, err = retried(func() (int, error) { return 0, unix.Lstat(path, &st) }); err != nil {
		err = &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st, err
}

// realDirectory is an error if dir is no directory, or a symbolic link to one: nothing that the driver works in lies
// elsewhere than it says.
func realDirectory(dir string) error {
	st, err := lstatOf(dir)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = &fs.PathError{Op: "lstat", Path: dir, Err: unix.ENOTDIR}
	}
	return err
}

// A visitDir is called with a directory that is open for as long as it is visited; atRoot tells that it is that of the layer.
type visitDir func(dir openedDir, atRoot bool, entries []fs.DirEntry) (changed bool, err error)

// visit calls visit for one directory, and returns what was in it.
func (t *walkedTree) visit(rel string, visit visitDir) ([]fs.DirEntry, error) {
	dir, err := t.open(rel)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	listed, err := dir.listed()
	if err != nil {
		return nil, err
	}
	return listed.entries, keepTimesOf(dir, &listed.st, func() (bool, error) { return visit(dir, rel == ".", listed.entries) })
}

// keepTimes calls change and, if that changed the directory dir, restores its times of access and modification.
func keepTimes(dir openedDir, change func() (bool, error)) error {
	st, err := dir.stat()
	if err != nil {
		return err
	}
	return keepTimesOf(dir, &st, change)
}

// keepTimesOf is keepTimes for a directory that has the times in st.
func keepTimesOf(dir openedDir, st *syscall.Stat_t, change func() (bool, error)) error {
	changed, err := change()
	if changed {
		err = errors.Join(err, dir.setTimes(st))
	}
	return err
}
