//go:build linux

package fsutil

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

// A container may be changing a tree while the driver reads it. So the functions of this file follow no symbolic link out of the tree. They
// also accept paths that are longer than the kernel accepts in one call.

// OpenDir opens the directory rel of the tree at root, and nothing but a directory. It follows no symbolic link, whether at root or below
// it: the error for a symbolic link is ENOTDIR.
func OpenDir(root, rel string) (*os.File, error) {
	t := Tree{Root: root}
	defer t.Close()
	return t.openDir(rel)
}

// A Tree opens directories of one tree. It opens the root of the tree only once.
type Tree struct {
	Root   string
	fd     int // the descriptor of the root, once opened is true
	opened bool
}

// Close closes the root. No more directories can be opened after that.
func (t *Tree) Close() {
	if t.opened {
		_ = unix.Close(t.fd) // it was only read
	}
}

// openDir is OpenDir for the directory rel of t.
func (t *Tree) openDir(rel string) (*os.File, error) {
	fd, err := t.openBeneath(rel)
	if IsForbidden(err) {
		fd, err = openStepwise(t.Root, rel)
	}
	if err != nil {
		return nil, t.cannotOpen(rel, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(t.Root, rel)), nil
}

// Open opens the directory rel as OpenDir does, and returns a Dir whose List begins with the first entry. If rel is the root, the Dir may
// share the descriptor that t keeps open.
func (t *Tree) Open(rel string) (dir Dir, err error) {
	fd, err := t.openListed(rel)
	if IsForbidden(err) {
		fd, err = openStepwise(t.Root, rel)
	}
	if err != nil {
		return dir, t.cannotOpen(rel, err)
	}
	return Dir{Fd: fd, Path: filepath.Join(t.Root, rel), kept: t.opened && fd == t.fd}, nil
}

// IsForbidden reports whether err, from a system call, may mean that the kernel does not know the call, or that a filter (seccomp(2))
// forbids it. Filters answer ENOSYS or EPERM to calls that they do not know. EPERM can also be about the file; the older call that a caller
// then tries fails for the same reason.
func IsForbidden(err error) bool { return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) }

// cannotOpen turns an error of openBeneath into one that names the directory rel.
func (t *Tree) cannotOpen(rel string, err error) error {
	if errors.Is(err, unix.ELOOP) {
		err = unix.ENOTDIR
	}
	return &fs.PathError{Op: "open", Path: filepath.Join(t.Root, rel), Err: err}
}

// openStepwise opens the directory rel of the tree at root without openat2(2), as on a kernel before 5.6.
func openStepwise(root, rel string) (fd int, err error) {
	if fd, err = OpenTree(root); err != nil || rel == "." || rel == "" {
		return fd, err
	}
	defer unix.Close(fd) // it was only read
	return stepBeneath(fd, rel, DirectoryFlags)
}

// stepBeneath opens rel, below the open directory above, with these flags of open(2): one name after the other. It follows no symbolic link. A
// ".." is an error, EXDEV, which openat2(2) returns only for one that leads out.
func stepBeneath(above int, rel string, flags int) (fd int, err error) {
	fd = above
	for name := range strings.SplitSeq(rel, "/") {
		if name == "" {
			continue
		}
		next := -1
		if err = unix.EXDEV; name != ".." {
			next, err = Retried(func() (int, error) { return unix.Openat(fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
		}
		if fd != above {
			_ = unix.Close(fd) // it was only read
		}
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// DirectoryFlags are the flags of open(2) for a directory that is to be read.
const DirectoryFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC

// openBeneath opens rel in as few calls as its length allows. One call for each directory of the path would make the walk of a deep tree
// slow.
func (t *Tree) openBeneath(rel string) (fd int, err error) {
	if rel == "." || rel == "" {
		return OpenTree(t.Root)
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
			fd, err = Retried(func() (int, error) { return openat2Dir(above, piece) })
		}
		if above != t.fd {
			_ = unix.Close(above) // it was only read
		}
	}
	return fd, err
}

// openRoot opens the root of the tree, unless it is open already.
func (t *Tree) openRoot() (err error) {
	if !t.opened {
		t.fd, err = OpenTree(t.Root)
		t.opened = err == nil
	}
	return err
}

// OpenTree opens a directory, to read it or to name files relative to it. A symbolic link to a directory is an error.
func OpenTree(root string) (fd int, err error) {
	return Retried(func() (int, error) { return unix.Open(root, DirectoryFlags|unix.O_NOFOLLOW, 0) })
}

// openat2Dir opens the directory rel, below an open one. It follows no symbolic link.
func openat2Dir(above int, rel string) (int, error) {
	return unix.Openat2(above, rel, &unix.OpenHow{Flags: DirectoryFlags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
}

// Retried repeats a call that a signal has interrupted, as package os does. That can happen if a file system in user space, or on another
// host, is slow to open a file.
func Retried(open func() (fd int, err error)) (fd int, err error) {
	for {
		if fd, err = open(); !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// Within returns a path of the file name in an open directory; name may be ".". The path is short, however deep the directory is. It is for
// calls that take no file descriptor.
func Within(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// A ListedDir has the entries of a directory, and its status from before they were read.
type ListedDir struct {
	Entries []fs.DirEntry
	St      syscall.Stat_t
}

// Listed reads a directory that was just opened.
func (d Dir) Listed() (listed ListedDir, err error) {
	if listed.St, err = d.Stat(); err == nil {
		listed.Entries, err = d.List()
	}
	return listed, err
}

// openListed is openBeneath for a directory that is to be read from its beginning. The descriptor may be t.fd.
func (t *Tree) openListed(rel string) (fd int, err error) {
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

// OpenBelow opens the directory rel of the tree at root.
func OpenBelow(root, rel string) (Dir, error) {
	t := Tree{Root: root}
	dir, err := t.Open(rel)
	// dir is the root itself, and shares the descriptor of t. Do not close t: whoever closes dir closes the descriptor.
	if dir.kept {
		dir.kept = false
		return dir, err
	}
	t.Close()
	return dir, err
}

// MkdirBeneath makes the directory rel of the tree at root, for its owner alone. If rel is ".", it makes root itself.
func MkdirBeneath(root, rel string) error {
	if rel == "." {
		return Anywhere.mkdir(root)
	}
	dir, err := OpenBelow(root, filepath.Dir(rel))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.mkdir(filepath.Base(rel))
}

// StatIn is lstat(2) of the file name in an open directory.
func StatIn(dir *os.File, name string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return &st, nil
}

// StatBeneath is lstat(2) of the file rel in the tree at root.
func StatBeneath(root, rel string) (*unix.Stat_t, error) {
	dir, err := OpenDir(root, filepath.Dir(rel))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return StatIn(dir, filepath.Base(rel))
}

// SetTimesBeneath sets the times of access and modification of the file rel of the tree at root. times are as utimensat(2) takes them. It
// follows no symbolic link.
func SetTimesBeneath(root, rel string, times []unix.Timespec) error {
	dir, err := OpenDir(root, filepath.Dir(rel))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.UtimesNanoAt(int(dir.Fd()), filepath.Base(rel), times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "setting the times of", Path: filepath.Join(root, rel), Err: err}
	}
	return nil
}

// WalkBeneath calls visit for everything in the tree at root, except root itself. A directory comes before its content. dir is the open
// directory that contains the file rel. WalkBeneath skips files that are deleted meanwhile, and the content of a directory for which visit
// returns fs.SkipDir.
func WalkBeneath(root string, visit func(dir *os.File, rel string, st *unix.Stat_t) error) error {
	return walkDirBeneath(root, ".", visit)
}

func walkDirBeneath(root, rel string, visit func(dir *os.File, rel string, st *unix.Stat_t) error) error {
	dir, err := OpenDir(root, rel)
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
		st, err := StatIn(dir, name)
		if err == nil {
			err = visit(dir, filepath.Join(rel, name), st)
			if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
				below = append(below, name)
			}
		}
		if err = IgnoreGone(err); err != nil && !errors.Is(err, fs.SkipDir) {
			_ = dir.Close() // it was only read
			return err
		}
	}
	// However deep the tree is, no more than one of its directories is open at a time.
	if err := dir.Close(); err != nil {
		return err
	}
	for _, name := range below {
		if err := walkDirBeneath(root, filepath.Join(rel, name), visit); IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// IgnoreGone returns nil if err says that a file does not exist, or no longer exists. Otherwise it returns err. A mount may be in use while
// it is walked, and its directories may be deleted, or replaced by files.
func IgnoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

// OpenDirectory are the flags of os.OpenFile for a directory, which must not be a symbolic link.
const OpenDirectory = os.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW

// LstatOf is os.Lstat for frequent calls. os.Lstat takes a sixth longer.
func LstatOf(path string) (st unix.Stat_t, err error) {
	if _, err = Retried(func() (int, error) { return 0, unix.Lstat(path, &st) }); err != nil {
		err = &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st, err
}

// RealDirectory returns an error unless dir is a directory. A symbolic link to a directory is an error too: it could lead the driver to
// another place.
func RealDirectory(dir string) error {
	st, err := LstatOf(dir)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = &fs.PathError{Op: "lstat", Path: dir, Err: unix.ENOTDIR}
	}
	return err
}

// A VisitDir is called with a directory, which is open during the call, and its entries. atRoot says that the directory is the root of the
// layer. changed says that the function changed the directory.
type VisitDir func(dir Dir, atRoot bool, entries []fs.DirEntry) (changed bool, err error)

// Visit calls visit for one directory, and returns the entries that the directory had before.
func (t *Tree) Visit(rel string, visit VisitDir) ([]fs.DirEntry, error) {
	dir, err := t.Open(rel)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	listed, err := dir.Listed()
	if err != nil {
		return nil, err
	}
	return listed.Entries, KeepTimesOf(dir, &listed.St, func() (bool, error) { return visit(dir, rel == ".", listed.Entries) })
}

// KeepTimes calls change. If change changed the directory dir, KeepTimes restores the times of access and modification of dir.
func KeepTimes(dir Dir, change func() (bool, error)) error {
	st, err := dir.Stat()
	if err != nil {
		return err
	}
	return KeepTimesOf(dir, &st, change)
}

// KeepTimesOf is KeepTimes for a directory whose times are in st.
func KeepTimesOf(dir Dir, st *syscall.Stat_t, change func() (bool, error)) error {
	changed, err := change()
	if changed {
		err = errors.Join(err, dir.SetTimes(st))
	}
	return err
}
