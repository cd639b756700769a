//go:build linux

package quota

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"unsafe"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A Project is a number under which the file system counts files. A file that is made in a directory of a project belongs to that project. The
// kernel refuses to move or link a file of another project there, with EXDEV. Files without a project have the number 0.
type Project uint32

// The projects of layers have numbers from FirstProject to LastProject, unless all of these are taken. There are not more of them because xfs
// keeps 136 bytes on the disk for each number that was ever used. The storage library's overlay driver computes its numbers from the inode
// number of its home, and others most often take small ones.
const (
	FirstProject Project = 0x61750000
	LastProject          = FirstProject + projects - 1
	projects             = 1 << 16
	// triesOutside is how many numbers New tries if all of these are taken.
	triesOutside = 1000
)

var (
	// ErrNotEnforced says that the file system does not enforce the limits of projects. Everything else may work.
	ErrNotEnforced = errors.New("limits of projects are not enforced")
	// ErrInProject says that everything that is made in the directory inherits a project, so that no file of another project can be moved
	// there.
	ErrInProject = errors.New("the directory has a project already")
	errAllTaken  = errors.New("all numbers of projects are in use")
)

// Check returns an error if directories in the directory dir cannot have a project with these limits, or if this process may not give them
// any. The error says what to do. fsName returns the name of the file system of a directory.
func (l Limits) Check(dir string, fsName func(dir string) string) error {
	if l == (Limits{}) {
		return nil
	}
	err := Check(dir)
	if err == nil {
		return nil
	}
	do := ""
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		do = ": run the program as root with CAP_SYS_ADMIN, outside of user namespaces, or leave the option out"
	case errors.Is(err, ErrInProject):
		do = ": remove the project from all of the store (chattr -R -P -p 0), or leave the option out"
	case NotSupported(err):
		do = ": mount an xfs, or an ext4 with the features quota and project, with the option prjquota, or leave the option out"
	}
	return fmt.Errorf("%s: directories in %s, which is on %s, cannot have quotas%s: %w", l, dir, fsName(dir), do, err)
}

// Check returns an error if directories in the directory dir cannot have a project and limits, or if this process may not give them any.
func Check(dir string) error {
	p, err := Of(dir)
	if err == nil && p != 0 {
		err = fmt.Errorf("%w, %d", ErrInProject, p)
	}
	if err != nil {
		return err
	}
	enforced, err := isEnforced(dir)
	if err == nil && !enforced {
		err = ErrNotEnforced
	}
	if err == nil {
		// Only a process that may set limits may read another project's limits.
		_, err = FirstProject.Limits(dir)
	}
	return err
}

// NotSupported reports whether err says that the file system or the kernel has no quotas of projects.
func NotSupported(err error) bool {
	for _, no := range []error{ErrNotEnforced, unix.ENOTTY, unix.EOPNOTSUPP, unix.ENOSYS, unix.ESRCH, unix.ENODEV, unix.ENOTBLK} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// New gives the empty directory dir a new project with these limits. New takes a number for which the file system counts no files. So New
// needs no record of the numbers in use, and other stores and programs may use projects of the same file system.
//
// A number with limits but without files is left from a crash, or from a layer whose container has given the files another project and can
// take that back. New takes such a number only if no other from FirstProject to LastProject is free. A container can give each of these
// numbers to a file of its own; then New takes a number outside of them.
func New(dir string, l Limits) (Project, error) { return newOf(dir, l, projects) }

// newOf is New, but it tries only that many numbers, from FirstProject on. numbers is at most the constant projects.
func newOf(dir string, l Limits, numbers int) (Project, error) {
	for p, limited := range candidates(numbers) {
		if alone, err := p.take(dir, limited); err != nil {
			return 0, err
		} else if alone {
			return p, p.SetLimits(dir, l)
		}
	}
	return 0, errAllTaken
}

// candidates returns the numbers that newOf tries, each with whether it may have limits.
func candidates(numbers int) iter.Seq2[Project, bool] {
	return func(yield func(Project, bool) bool) {
		start := rand.N(numbers)
		for _, limited := range []bool{false, true} {
			for n := range numbers {
				if !yield(FirstProject+Project((start+n)%numbers), limited) {
					return
				}
			}
		}
		for range triesOutside {
			// Some programs take a number for negative if it has 32 bits.
			p := Project(rand.Uint32() >> 1)
			if p != 0 && (p < FirstProject || p > LastProject) && !yield(p, false) {
				return
			}
		}
	}
}

// take gives the empty directory dir the project p, unless p has other files, or p has limits and limited is false. alone reports whether dir
// is the only file of p.
func (p Project) take(dir string, limited bool) (alone bool, err error) {
	b, err := p.get(dir)
	if err != nil || b.inodes > 0 || !limited && (b.bytesHard > 0 || b.inodesHard > 0) {
		return false, err
	}
	if err := p.Give(dir); err != nil {
		return false, err
	}
	// Somebody may have taken the number at the same time, for a layer of another store.
	b, err = p.get(dir)
	return b.inodes == 1, err
}

// Give makes the empty directory dir, and what is made in it from now on, belong to the project p.
func (p Project) Give(dir string) error {
	return attributes(dir, func(a *fsxattr) bool {
		given := a.project == uint32(p) && a.flags&inherit != 0
		a.project, a.flags = uint32(p), a.flags|inherit
		return !given
	})
}

// Of returns the project that new files in the directory dir get, or 0.
func Of(dir string) (p Project, err error) {
	return p, attributes(dir, func(a *fsxattr) bool {
		if a.flags&inherit != 0 {
			p = Project(a.project)
		}
		return false
	})
}

// inherit is FS_XFLAG_PROJINHERIT of linux/fs.h.
const inherit = 0x200

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct {
	flags, extSize, extents, project, cowExtSize uint32
	_                                            [8]byte
}

// The numbers of ioctl(2) calls have two bits for the direction, which differ between platforms.
const (
	directions = 0xc0000000
	write      = unix.FS_IOC_GET_ENCRYPTION_PWSALT & directions
	read       = directions ^ write
	numbers    = uint(unsafe.Sizeof(fsxattr{}))<<16 | 'X'<<8
	getXattr   = read | numbers | 31
	setXattr   = write | numbers | 32
)

// attributes passes the attributes of the directory dir to change, and sets them if change returns true.
func attributes(dir string, change func(a *fsxattr) bool) error {
	f, err := os.OpenFile(dir, fsutil.OpenDirectory, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var a fsxattr
	if err := ioctl(f, getXattr, &a); err != nil {
		return &fs.PathError{Op: "get the project of", Path: dir, Err: err}
	}
	if !change(&a) {
		return nil
	}
	if err := ioctl(f, setXattr, &a); err != nil {
		return &fs.PathError{Op: fmt.Sprintf("set project %d of", a.project), Path: dir, Err: err}
	}
	return nil
}

func ioctl(f *os.File, call uint, a *fsxattr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(call), uintptr(unsafe.Pointer(a))); errno != 0 {
		return errno
	}
	return nil
}
