//go:build linux

package aufs

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

// An openedDir is a directory that is open. A container can exchange a directory of its layer with a symbolic link at any time, and a
// path would lead elsewhere then. So whoever changes something in a layer names it from the open directory that it is in, and no call
// follows a symbolic link in the place of that name.
//
// Paths are good for what no container can change: the directories of the store; diff/<id> itself and, in a call that follows no symbolic
// link, a name in it; and scratch directories and shadows, which no mount has while they are made.
type openedDir struct {
	fd   int
	path string // where it was opened, for errors alone
	kept bool   // close leaves it to its owner
}

// anywhere takes paths for names.
var anywhere = openedDir{fd: unix.AT_FDCWD, kept: true}

// openReal opens a directory that has a path which no container can change, and no symbolic link to one.
func openReal(path string) (openedDir, error) { return anywhere.open(path) }

// open opens the directory name in d. A symbolic link to one is ENOTDIR.
func (d openedDir) open(name string) (openedDir, error) {
	fd, err := retried(func() (int, error) { return unix.Openat(d.fd, name, directoryFlags|unix.O_NOFOLLOW, 0) })
	if errors.Is(err, unix.ELOOP) {
		err = unix.ENOTDIR
	}
	if err != nil {
		return openedDir{}, d.failed("open", name, err)
	}
	return openedDir{fd: fd, path: d.pathOf(name)}, nil
}

// close says that d is not needed any more.
func (d openedDir) close() {
	if !d.kept {
		_ = unix.Close(d.fd) // nothing was written by it
	}
}

// pathOf is what errors call the file name in d, or d itself if name is ".".
func (d openedDir) pathOf(name string) string { return filepath.Join(d.path, name) }

// failed is an error about the file name in d, or nil.
func (d openedDir) failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: d.pathOf(name), Err: err}
}

// reach is a path, never long, of the file name in d, or of d itself if name is ".". It is for calls that take no descriptor.
func (d openedDir) reach(name string) string {
	if d.fd == unix.AT_FDCWD {
		return name
	}
	return "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + name
}

// named has the error of a call that got a path of reach tell the path that the file was opened with.
func (d openedDir) named(err error) error {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		if rest, ok := strings.CutPrefix(pathError.Path, d.reach("")); ok {
			pathError.Path = d.pathOf(rest)
		}
	}
	return err
}

// stat is fstat(2) of d itself.
func (d openedDir) stat() (st syscall.Stat_t, err error) {
	_, err = retried(func() (int, error) { return 0, syscall.Fstat(d.fd, &st) })
	return st, d.failed("stat", ".", err)
}

// lstat is os.Lstat of the file name in d.
func (d openedDir) lstat(name string) (*fileInfo, error) {
	info := &fileInfo{name: filepath.Base(name)}
	_, err := retried(func() (int, error) {
		var st unix.Stat_t
		err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		info.st = statOfPackageOS(&st)
		return 0, err
	})
	if err != nil {
		return nil, d.failed("lstat", name, err)
	}
	return info, nil
}

// exists tells if there is a file name in d.
func (d openedDir) exists(name string) (bool, error) {
	_, err := d.lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// list reads all that is left to read of d, in no order.
func (d openedDir) list() ([]fs.DirEntry, error) {
	fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, d.failed("reading the directory", ".", err)
	}
	f := os.NewFile(uintptr(fd), d.path)
	defer f.Close()
	return f.ReadDir(-1)
}

// look looks at those of the entries of d that wanted names, or at all if it is nil. Those that are gone by now are left out.
func (d openedDir) look(entries []fs.DirEntry, wanted func(name string) bool) ([]fs.DirEntry, error) {
	found := entries[:0]
	for _, entry := range entries {
		if wanted != nil && !wanted(entry.Name()) {
			found = append(found, entry)
			continue
		}
		info, err := d.lstat(entry.Name())
		if err == nil {
			found = append(found, fs.FileInfoToDirEntry(info))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return found, nil
}

// remove removes the file name in d, which is no directory.
func (d openedDir) remove(name string) error {
	return d.failed("remove", name, unix.Unlinkat(d.fd, name, 0))
}

// removeAll removes the file name in d, and all that is in it.
func (d openedDir) removeAll(name string) error { return d.named(removeAll(d.reach(name))) }

// removeEmpty removes the file name in d, if it is there, and a directory only if nothing is in it.
func (d openedDir) removeEmpty(name string) error {
	err := unix.Unlinkat(d.fd, name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return d.failed("remove", name, ignoreGone(err))
}

// mkdir makes a directory in d, for its owner alone.
func (d openedDir) mkdir(name string) error {
	return d.failed("mkdir", name, unix.Mkdirat(d.fd, name, 0o700))
}

// rename moves the file name in d, and replaces what is there.
func (d openedDir) rename(name string, to openedDir, toName string) error {
	return d.linkError("rename", name, to, toName, unix.Renameat(d.fd, name, to.fd, toName))
}

// renameNew is rename, and an error if anything is there.
func (d openedDir) renameNew(name string, to openedDir, toName string) error {
	err := unix.Renameat2(d.fd, name, to.fd, toName, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || isForbidden(err) {
		// Some network file systems cannot do that, and some filters of system calls forbid it.
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

// link makes a hard link to the file name in d; of a symbolic link, to the link.
func (d openedDir) link(name string, to openedDir, toName string) error {
	return d.linkError("link", name, to, toName, unix.Linkat(d.fd, name, to.fd, toName, 0))
}

func (d openedDir) linkError(op, name string, to openedDir, toName string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: d.pathOf(name), New: to.pathOf(toName), Err: err}
}

// setTimes gives d itself the times of access and modification that st has.
func (d openedDir) setTimes(st *syscall.Stat_t) error {
	times := []unix.Timespec{unix.Timespec(st.Atim), unix.Timespec(st.Mtim)}
	return d.failed("setting the times of", ".", unix.UtimesNanoAt(d.fd, ".", times, unix.AT_SYMLINK_NOFOLLOW))
}

// statOfPackageOS is st as the files of package os have it.
func statOfPackageOS(st *unix.Stat_t) syscall.Stat_t {
	return syscall.Stat_t{
		Dev: st.Dev, Ino: st.Ino, Nlink: st.Nlink, Mode: st.Mode, Uid: st.Uid, Gid: st.Gid, Rdev: st.Rdev,
		Size: st.Size, Blksize: st.Blksize, Blocks: st.Blocks,
		Atim: syscall.Timespec(st.Atim), Mtim: syscall.Timespec(st.Mtim), Ctim: syscall.Timespec(st.Ctim),
	}
}

// A fileInfo is what os.Lstat would tell of a file.
type fileInfo struct {
	name string
	st   syscall.Stat_t
}

// Name implements fs.FileInfo, as do those that follow.
func (i *fileInfo) Name() string { return i.name }

// Size is that of a regular file's content.
func (i *fileInfo) Size() int64 { return i.st.Size }

// ModTime is when the content was changed.
func (i *fileInfo) ModTime() time.Time { return time.Unix(i.st.Mtim.Unix()) }

// IsDir tells if it is a directory.
func (i *fileInfo) IsDir() bool { return i.st.Mode&unix.S_IFMT == unix.S_IFDIR }

// Sys is what stat(2) has said.
func (i *fileInfo) Sys() any { return &i.st }

// fileKinds are the types of files in st_mode.
var fileKinds = map[uint32]fs.FileMode{
	unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe, unix.S_IFSOCK: fs.ModeSocket,
	unix.S_IFBLK: fs.ModeDevice, unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice,
}

// Mode is the type and the permissions.
func (i *fileInfo) Mode() fs.FileMode { return fileMode(i.st.Mode) }

// fileMode is what package os calls an st_mode.
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

// statOf is the stat(2) of a file that was looked at with os.Lstat or the like.
func statOf(info fs.FileInfo) *syscall.Stat_t {
	return info.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // so says os.FileInfo on Linux
}

// mkdirWithoutACL is os.Mkdir of a directory that inherits no list: what a store's own directory has, by a default list of one
// above it, is not content of layers.
func mkdirWithoutACL(path string, mode fs.FileMode) error {
	return anywhere.mkdirWithoutACL(path, mode)
}

// mkdirWithoutACL is the function of this name for a directory in d.
func (d openedDir) mkdirWithoutACL(name string, mode fs.FileMode) error {
	if err := unix.Mkdirat(d.fd, name, uint32(mode.Perm())); err != nil {
		return d.failed("mkdir", name, err)
	}
	if err := d.removeACLs(name); err != nil {
		return errors.Join(err, unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR))
	}
	return nil
}

// removeACLs removes the access control lists of the directory name in d, or of d itself if name is ".".
func (d openedDir) removeACLs(name string) error {
	for _, attr := range []string{aclDefault, aclAccess} {
		err := unix.Lremovexattr(d.reach(name), attr)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			return d.failed("removing "+attr+" from", name, err)
		}
	}
	return nil
}

// dropDefaultACL removes the default list of a directory of the driver's own, so that nothing made in it inherits that. A directory that
// is not there has none. The access list stays.
func dropDefaultACL(dir string) error {
	// To remove a list that is not there takes a file system that can be written to, and some set the time of the change.
	list, err := pathXattrs(dir).get(aclDefault)
	if err == nil && list != nil {
		err = unix.Lremovexattr(dir, aclDefault)
	}
	for _, harmless := range []error{fs.ErrNotExist, unix.ENODATA, unix.ENOTSUP, unix.EROFS} {
		if errors.Is(err, harmless) {
			return nil
		}
	}
	if err != nil {
		return &fs.PathError{Op: "removing " + aclDefault + " from", Path: dir, Err: err}
	}
	return nil
}

// The names of the two attributes, and what they begin with.
const (
	aclPrefix  = "system.posix_acl_"
	aclAccess  = aclPrefix + "access"
	aclDefault = aclPrefix + "default"
)
