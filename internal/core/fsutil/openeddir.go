//go:build linux

package fsutil

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Dir is an open directory. A container can replace a directory of its layer with a symbolic link at any time, and then a path through
// that directory would lead elsewhere. So code that changes a file in a layer names the file relative to the open directory that contains
// it, and uses calls that do not follow a symbolic link in the place of the file.
//
// Paths are safe for everything that no container can change: the directories of the store; diff/<id> itself; a name in diff/<id>, in a
// call that follows no symbolic link; and scratch directories and shadows, which are in no mount while they are being made.
type Dir struct {
	Fd   int
	Path string // the path that it was opened with, which may lead elsewhere by now
	kept bool   // the descriptor belongs to something else, and Close does not close it
}

// Anywhere is a Dir in which the names of files are their paths.
var Anywhere = Dir{Fd: unix.AT_FDCWD, kept: true}

// OpenReal opens the directory path, which no container can change. The error for a symbolic link is ENOTDIR.
func OpenReal(path string) (Dir, error) { return Anywhere.Open(path) }

// Open opens the directory name in d. The error for a symbolic link is ENOTDIR.
func (d Dir) Open(name string) (Dir, error) {
	fd, err := Retried(func() (int, error) { return unix.Openat(d.Fd, name, DirectoryFlags|unix.O_NOFOLLOW, 0) })
	if errors.Is(err, unix.ELOOP) {
		err = unix.ENOTDIR
	}
	if err != nil {
		return Dir{}, d.Failed("open", name, err)
	}
	return Dir{Fd: fd, Path: d.PathOf(name)}, nil
}

// Close closes d, unless the descriptor has another owner.
func (d Dir) Close() {
	if !d.kept {
		_ = unix.Close(d.Fd) // nothing was written through it
	}
}

// PathOf returns the path that errors show for the file name in d, or for d itself if name is ".".
func (d Dir) PathOf(name string) string { return filepath.Join(d.Path, name) }

// Failed returns err as an error about the file name in d. It returns nil if err is nil.
func (d Dir) Failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: d.PathOf(name), Err: err}
}

// Reach returns a path of the file name in d, or of d itself if name is ".". The path is short, however deep d is. It is for calls that
// take no descriptor.
func (d Dir) Reach(name string) string {
	if d.Fd == unix.AT_FDCWD {
		return name
	}
	return "/proc/self/fd/" + strconv.Itoa(d.Fd) + "/" + name
}

// Named returns err, the error of a call that got a path from Reach. In err, it replaces that path by the path that PathOf returns.
func (d Dir) Named(err error) error {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		if rest, ok := strings.CutPrefix(pathError.Path, d.Reach("")); ok {
			pathError.Path = d.PathOf(rest)
		}
	}
	return err
}

// Stat is fstat(2) of d itself.
func (d Dir) Stat() (st syscall.Stat_t, err error) {
	_, err = Retried(func() (int, error) { return 0, syscall.Fstat(d.Fd, &st) })
	return st, d.Failed("stat", ".", err)
}

// Lstat is os.Lstat of the file name in d.
func (d Dir) Lstat(name string) (*FileInfo, error) {
	info := &FileInfo{name: filepath.Base(name)}
	_, err := Retried(func() (int, error) {
		var st unix.Stat_t
		err := unix.Fstatat(d.Fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		info.St = statOfPackageOS(&st)
		return 0, err
	})
	if err != nil {
		return nil, d.Failed("lstat", name, err)
	}
	return info, nil
}

// exists reports whether the file name is in d.
func (d Dir) exists(name string) (bool, error) {
	_, err := d.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// List reads the entries of d, in no order, from the current position of the descriptor to the end.
func (d Dir) List() ([]fs.DirEntry, error) {
	fd, err := unix.FcntlInt(uintptr(d.Fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, d.Failed("reading the directory", ".", err)
	}
	f := os.NewFile(uintptr(fd), d.Path)
	defer f.Close()
	return f.ReadDir(-1)
}

// Look returns the entries of d with what Lstat says of them. It calls Lstat only for the names that wanted accepts, or for all names if
// wanted is nil, and drops those that are gone.
func (d Dir) Look(entries []fs.DirEntry, wanted func(name string) bool) ([]fs.DirEntry, error) {
	found := entries[:0]
	for _, entry := range entries {
		if wanted != nil && !wanted(entry.Name()) {
			found = append(found, entry)
			continue
		}
		info, err := d.Lstat(entry.Name())
		if err == nil {
			found = append(found, fs.FileInfoToDirEntry(info))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return found, nil
}

// Remove removes the file name in d. It must not be a directory.
func (d Dir) Remove(name string) error {
	return d.Failed("remove", name, unix.Unlinkat(d.Fd, name, 0))
}

// RemoveAll removes the file name in d, and everything in it.
func (d Dir) RemoveAll(name string) error { return d.Named(RemoveAll(d.Reach(name))) }

// RemoveEmpty removes the file name in d, if it exists. A directory that has something in it stays.
func (d Dir) RemoveEmpty(name string) error {
	err := unix.Unlinkat(d.Fd, name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(d.Fd, name, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return d.Failed("remove", name, IgnoreGone(err))
}

// mkdir makes a directory in d, for its owner alone.
func (d Dir) mkdir(name string) error {
	return d.Failed("mkdir", name, unix.Mkdirat(d.Fd, name, 0o700))
}

// rename moves the file name in d to toName in to. It replaces a file of that name.
func (d Dir) rename(name string, to Dir, toName string) error {
	return d.linkError("rename", name, to, toName, unix.Renameat(d.Fd, name, to.Fd, toName))
}

// RenameNew is rename, but fails if toName exists already.
func (d Dir) RenameNew(name string, to Dir, toName string) error {
	err := unix.Renameat2(d.Fd, name, to.Fd, toName, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || IsForbidden(err) {
		// Some network file systems do not support RENAME_NOREPLACE, and some filters of system calls forbid renameat2(2).
		there, terr := to.exists(toName)
		if terr != nil {
			return terr
		}
		if there {
			return d.linkError("rename", name, to, toName, unix.EEXIST)
		}
		return d.rename(name, to, toName)
	}
	return d.linkError("rename", name, to, toName, err)
}

// Link makes a hard link to the file name in d. If the file is a symbolic link, the hard link is to that link and not to its target.
func (d Dir) Link(name string, to Dir, toName string) error {
	return d.linkError("link", name, to, toName, unix.Linkat(d.Fd, name, to.Fd, toName, 0))
}

func (d Dir) linkError(op, name string, to Dir, toName string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: d.PathOf(name), New: to.PathOf(toName), Err: err}
}

// SetTimes sets the times of access and modification of d itself to those in st.
func (d Dir) SetTimes(st *syscall.Stat_t) error {
	times := []unix.Timespec{unix.Timespec(st.Atim), unix.Timespec(st.Mtim)}
	return d.Failed("setting the times of", ".", unix.UtimesNanoAt(d.Fd, ".", times, unix.AT_SYMLINK_NOFOLLOW))
}

// statOfPackageOS returns st in the type that package os uses.
func statOfPackageOS(st *unix.Stat_t) syscall.Stat_t {
	return syscall.Stat_t{
		Dev: st.Dev, Ino: st.Ino, Nlink: st.Nlink, Mode: st.Mode, Uid: st.Uid, Gid: st.Gid, Rdev: st.Rdev,
		Size: st.Size, Blksize: st.Blksize, Blocks: st.Blocks,
		Atim: syscall.Timespec(st.Atim), Mtim: syscall.Timespec(st.Mtim), Ctim: syscall.Timespec(st.Ctim),
	}
}

// A FileInfo has what os.Lstat would return for a file.
type FileInfo struct {
	name string
	St   syscall.Stat_t
}

// Name implements fs.FileInfo, as do the methods below.
func (i *FileInfo) Name() string { return i.name }

// Size returns the size of a regular file's content.
func (i *FileInfo) Size() int64 { return i.St.Size }

// ModTime returns the time when the content was last changed.
func (i *FileInfo) ModTime() time.Time { return time.Unix(i.St.Mtim.Unix()) }

// IsDir reports whether the file is a directory.
func (i *FileInfo) IsDir() bool { return i.St.Mode&unix.S_IFMT == unix.S_IFDIR }

// Sys returns the result of stat(2).
func (i *FileInfo) Sys() any { return &i.St }

// fileKinds maps the file types in st_mode to those in fs.FileMode.
var fileKinds = map[uint32]fs.FileMode{
	unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe, unix.S_IFSOCK: fs.ModeSocket,
	unix.S_IFBLK: fs.ModeDevice, unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice,
}

// Mode returns the type and the permissions.
func (i *FileInfo) Mode() fs.FileMode { return fileMode(i.St.Mode) }

// fileMode returns an st_mode as an fs.FileMode, as package os does.
func fileMode(st uint32) fs.FileMode {
	mode := fs.FileMode(st&0o777) | fileKinds[st&unix.S_IFMT]
	if st&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if st&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if st&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// StatOf returns the result of stat(2) that is in info, from os.Lstat or the like.
func StatOf(info fs.FileInfo) *syscall.Stat_t {
	return info.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // so says os.FileInfo on Linux
}

// MkdirWithoutACL is os.Mkdir for a directory that inherits no access control list. A store's own directory may have lists, because a
// directory above it has a default list. Such lists are not content of layers.
func MkdirWithoutACL(path string, mode fs.FileMode) error {
	return Anywhere.mkdirWithoutACL(path, mode)
}

// mkdirWithoutACL is MkdirWithoutACL for a directory in d.
func (d Dir) mkdirWithoutACL(name string, mode fs.FileMode) error {
	if err := unix.Mkdirat(d.Fd, name, uint32(mode.Perm())); err != nil {
		return d.Failed("mkdir", name, err)
	}
	if err := d.RemoveACLs(name); err != nil {
		return errors.Join(err, unix.Unlinkat(d.Fd, name, unix.AT_REMOVEDIR))
	}
	return nil
}

// RemoveACLs removes the access control lists of the directory name in d, or of d itself if name is ".".
func (d Dir) RemoveACLs(name string) error {
	for _, attr := range []string{ACLDefault, ACLAccess} {
		err := unix.Lremovexattr(d.Reach(name), attr)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			return d.Failed("removing "+attr+" from", name, err)
		}
	}
	return nil
}

// DropDefaultACL removes the default list of one of the driver's own directories, so that nothing made in it inherits that list. A missing
// directory is no error. The access list stays.
func DropDefaultACL(dir string) error {
	// Look first: even if there is no list, Lremovexattr fails on a read-only file system, and on some file systems it changes the
	// directory's ctime.
	list, err := PathXattrs(dir).Get(ACLDefault)
	if err == nil && list != nil {
		err = unix.Lremovexattr(dir, ACLDefault)
	}
	for _, harmless := range []error{fs.ErrNotExist, unix.ENODATA, unix.ENOTSUP, unix.EROFS} {
		if errors.Is(err, harmless) {
			return nil
		}
	}
	if err != nil {
		return &fs.PathError{Op: "removing " + ACLDefault + " from", Path: dir, Err: err}
	}
	return nil
}

// The names of the extended attributes that hold access control lists, and their common prefix.
const (
	ACLPrefix  = "system.posix_acl_"
	ACLAccess  = ACLPrefix + "access"
	ACLDefault = ACLPrefix + "default"
)
