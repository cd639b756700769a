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
// nor below it; one in the place of a directory is ENOTDIR. On a kernel before 5.6, or where openat2(2) is forbidden, links
// that stay in the tree are followed.
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
	if noOpenat2(err) {
		return openInRoot(t.root, rel)
	}
	if err != nil {
		return nil, t.cannotOpen(rel, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(t.root, rel)), nil
}

// noOpenat2 tells if an error of openBeneath is that there is no openat2(2), or that it is forbidden.
func noOpenat2(err error) bool { return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) }

// cannotOpen makes an error of openBeneath one that tells of the directory rel.
func (t *walkedTree) cannotOpen(rel string, err error) error {
	if errors.Is(err, unix.ELOOP) {
		err = unix.ENOTDIR
	}
	return &fs.PathError{Op: "open", Path: filepath.Join(t.root, rel), Err: err}
}

// openInRoot is openDir without openat2(2).
func openInRoot(root, rel string) (*os.File, error) {
	if err := realDirectory(root); err != nil {
		return nil, err
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.OpenFile(rel, directoryFlags, 0)
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

// reachable returns a path of the directory rel of the tree at root, in which nobody may be at work, that leaves room for a
// name after it, whatever the tree's depth. If that is not the path that all know it by, it ends in "/.", and is good until done is called.
func reachable(root, rel string) (dir string, done func(), err error) {
	if dir = filepath.Join(root, rel); !isLong(dir) {
		return dir, func() {}, nil
	}
	f, err := openDir(root, rel)
	if err != nil {
		return "", nil, err
	}
	return within(f, "."), func() { _ = f.Close() }, nil
}

// readDir reads all of an open directory. With look, and in a directory that is so deep that their paths are too long, the
// entries have been looked at by then; else they are when they are asked, by their paths, which may lead elsewhere by then.
func readDir(dir *os.File, look bool) ([]fs.DirEntry, error) {
	entries, err := dir.ReadDir(-1)
	if err != nil || !look && !isLong(dir.Name()) {
		return entries, err
	}
	// By the open directory: not by its path, which may lead elsewhere by now.
	root, err := os.OpenRoot(within(dir, "."))
	if err != nil {
		return nil, fmt.Errorf("looking at the files in %s: %v", dir.Name(), err) //nolint:errorlint // "not found" is not for them
	}
	defer root.Close()
	found := entries[:0]
	for _, entry := range entries {
		info, err := root.Lstat(entry.Name())
		if err == nil {
			found = append(found, fs.FileInfoToDirEntry(info))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return found, nil
}

// readDirBeneath is readDir of the directory rel of the tree at root.
func readDirBeneath(root, rel string) ([]fs.DirEntry, error) {
	t := walkedTree{root: root}
	defer t.close()
	listed, err := t.readDir(rel)
	return listed.entries, err
}

// A listedDir is what a directory has, and what it was when it was opened.
type listedDir struct {
	entries []fs.DirEntry
	st      syscall.Stat_t
}

// readDir is readDirBeneath.
func (t *walkedTree) readDir(rel string) (listed listedDir, err error) {
	path := filepath.Join(t.root, rel)
	if isLong(path) {
		return t.readLongDir(rel)
	}
	fd, err := t.openListed(rel)
	if noOpenat2(err) {
		return t.readLongDir(rel)
	}
	if err != nil {
		return listed, t.cannotOpen(rel, err)
	}
	if fd != t.fd {
		defer unix.Close(fd) //nolint:errcheck // it was only read
	}
	if _, err := retried(func() (int, error) { return 0, syscall.Fstat(fd, &listed.st) }); err != nil {
		return listed, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	listed.entries, err = readDirents(fd, path)
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

// readLongDir is readDir of a directory of any depth, and does without openat2(2).
func (t *walkedTree) readLongDir(rel string) (listed listedDir, err error) {
	dir, err := t.openDir(rel)
	if err != nil {
		return listed, err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return listed, err
	}
	listed.st = *statOf(info)
	listed.entries, err = readDir(dir, false)
	return listed, err
}

// isLong tells if the path of a directory leaves no room for a name after it.
func isLong(dir string) bool {
	const longestName = 255
	return len(dir)+len("/")+longestName >= unix.PathMax
}

// mkdirBeneath makes the directory rel of the tree at root, for its owner alone; "." is root itself.
func mkdirBeneath(root, rel string) error {
	if rel == "." {
		return os.Mkdir(root, 0o700)
	}
	dir, done, err := reachable(root, filepath.Dir(rel))
	if err != nil {
		return err
	}
	defer done()
	return os.Mkdir(filepath.Join(dir, filepath.Base(rel)), 0o700)
}

// lstat is os.Lstat of the file rel in the tree at root, in which nobody may be at work.
func lstat(root, rel string) (fs.FileInfo, error) {
	dir, done, err := reachable(root, filepath.Dir(rel))
	if err != nil {
		return nil, err
	}
	defer done()
	return os.Lstat(filepath.Join(dir, filepath.Base(rel)))
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
