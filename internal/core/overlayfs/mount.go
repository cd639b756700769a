//go:build linux

package overlayfs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/selinux/go-selinux/label"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"golang.org/x/sys/unix"
)

// A Mount describes one overlayfs mount.
type Mount struct {
	Target string
	// Lowers are the read-only directories, top to bottom. There must be at least one.
	Lowers []string
	// Upper and Work are the writable directory, and the scratch directory that overlayfs needs beside it. Both may be "".
	Upper, Work string
	Flags       uintptr
	Label       string
	// UserXattr makes overlayfs keep its marks in user.overlay.*, as it must in a user namespace.
	UserXattr bool
	// Index makes the kernel refuse, with EBUSY, an upper directory that another mount is using, in any mount namespace.
	Index bool
	// Volatile makes overlayfs sync nothing of what is written to the mount. See LeftVolatile.
	Volatile bool
}

// Mount makes the mount. If all paths fit into the data of mount(2), which is a page, it calls mount(2). Otherwise it makes the calls that
// take one directory at a time. If the kernel does not have those calls, or if mountinfo would show too many paths, it calls mount(2) with
// names that are shorter than the paths.
func (m Mount) Mount() error {
	data, fits := m.PlainData()
	var err error
	switch {
	case fits:
		err = mountutil.Mount("mount", m.Target, "overlay", m.Flags, data)
	case m.showsPaths():
		if err = m.mountByParts(); errors.Is(err, errNoParts) {
			err = m.again(m.mountNumbered)
		}
	default:
		err = m.mountNumbered()
	}
	if err == nil {
		return nil
	}
	// The calls that take one directory at a time accept more directories, and report more about an error than its number.
	if perr := m.again(m.mountByParts); !errors.Is(perr, errNoParts) {
		return perr
	}
	return err
}

// again calls mount after another way to mount has failed.
func (m Mount) again(mount func() error) error {
	if m.Volatile {
		// The kernel may have made the file system before something else has failed.
		if err := ForgetVolatile(m.Work); err != nil {
			return err
		}
	}
	return mount()
}

// mostPaths limits the length of the paths of all lower directories together. A line of mountinfo shows the names that they were mounted
// with, and many programs read no line of more than 64 KiB.
const mostPaths = 32 << 10

// showsPaths reports whether mountinfo may show the paths of the lower directories.
func (m Mount) showsPaths() bool {
	length := 0
	for _, lower := range m.Lowers {
		length += len(lower) + len(":")
	}
	return length < mostPaths
}

// options returns all options except the directories, the label and the flags. It turns off the features that would put redirects or copies
// without data into the writable directory, whatever the kernel's defaults are: aufs could not read such a layer.
func (m Mount) options() []mountutil.Option {
	var o []mountutil.Option
	if m.UserXattr {
		// userxattr turns off redirect_dir and metacopy by itself, and cannot be combined with them.
		o = append(o, mountutil.Option{Key: "userxattr", Value: ""})
	} else {
		o = append(o, mountutil.Option{Key: "redirect_dir", Value: "nofollow"}, mountutil.Option{Key: "metacopy", Value: "off"})
	}
	if m.Upper != "" {
		index := "off"
		if m.Index {
			index = "on"
		}
		o = append(o, mountutil.Option{Key: "index", Value: index})
		if KernelTakesParts() {
			// Since Linux 6.6, overlayfs gives each upper directory a number of its own, in an attribute that is no part of the layer. This
			// option prevents that.
			o = append(o, mountutil.Option{Key: "uuid", Value: "null"})
		}
	}
	if m.Volatile {
		o = append(o, mountutil.Option{Key: "volatile", Value: ""})
	}
	return o
}

// errNoParts says that this kernel's overlayfs does not take its lower directories one by one.
var errNoParts = errors.New("overlayfs cannot take its lower directories one by one")

// mountByParts mounts with fsopen(2), fsconfig(2), fsmount(2) and move_mount(2).
func (m Mount) mountByParts() error {
	fsfd, err := m.openByParts()
	if err != nil {
		return err
	}
	defer unix.Close(fsfd)
	if err := m.make(fsfd); err != nil {
		return err
	}
	mfd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, mountutil.MountAttributes(m.Flags))
	if err != nil {
		return orNoParts(m.fail("fsmount", mountutil.WithKernelLog(fsfd, err)))
	}
	defer unix.Close(mfd)
	if err := unix.MoveMount(mfd, "", unix.AT_FDCWD, m.Target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return orNoParts(m.fail("move_mount", err))
	}
	return nil
}

// Try finds out whether the mount can be made. It leaves nothing mounted.
func (m Mount) Try() error {
	err := m.tryOutByParts()
	if !errors.Is(err, errNoParts) {
		return err
	}
	if err := m.Mount(); err != nil {
		return err
	}
	return mountutil.UnmountRetry(m.Target)
}

// tryOutByParts makes the file system, but does not attach it: the kernel drops it with the descriptor.
func (m Mount) tryOutByParts() error {
	fsfd, err := m.openByParts()
	if err != nil {
		return err
	}
	defer unix.Close(fsfd)
	return m.make(fsfd)
}

// make has the file system context fsfd make the file system.
func (m Mount) make(fsfd int) error {
	if err := m.configure(fsfd); err != nil {
		return orNoParts(err)
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return orNoParts(m.fail("mount", mountutil.WithKernelLog(fsfd, err)))
	}
	return nil
}

// openByParts opens a file system context. The error matches errNoParts if this kernel cannot mount by parts.
func (m Mount) openByParts() (fsfd int, err error) {
	if !KernelTakesParts() {
		return -1, errNoParts
	}
	fsfd, err = unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, orNoParts(m.fail("fsopen", err))
	}
	return fsfd, nil
}

// orNoParts makes the error of a call match errNoParts if the call may be forbidden. The caller then falls back to mount(2), which shows
// whether mounting itself is forbidden.
func orNoParts(err error) error {
	if fsutil.IsForbidden(err) {
		return fmt.Errorf("%w: %w", errNoParts, err)
	}
	return err
}

// KernelTakesParts reports whether the kernel is Linux 6.7, which brought lowerdir+, or later. An older kernel would refuse lowerdir+ as
// well, but would write a line to its log for each mount.
func KernelTakesParts() bool { return fsutil.KernelFrom(6, 7) }

// KernelTakesUserXattr reports whether the kernel is Linux 5.11, which brought userxattr, or later.
func KernelTakesUserXattr() bool { return fsutil.KernelFrom(5, 11) }

// configure passes the options and directories to the file system context fsfd.
func (m Mount) configure(fsfd int) error {
	plain := m.showsPaths()
	for i, lower := range m.Lowers {
		err := setDirectory(fsfd, "lowerdir+", lower, plain)
		if i == 0 && errors.Is(err, unix.EINVAL) {
			return errNoParts
		}
		if err != nil {
			return m.fail("lowerdir+ "+lower, mountutil.WithKernelLog(fsfd, err))
		}
	}
	if m.Upper != "" {
		for _, dir := range []mountutil.Option{{Key: "upperdir", Value: m.Upper}, {Key: "workdir", Value: m.Work}} {
			if err := setDirectory(fsfd, dir.Key, dir.Value, true); err != nil {
				return m.fail(dir.Key+" "+dir.Value, mountutil.WithKernelLog(fsfd, err))
			}
		}
	}
	options := m.options()
	if m.Label != "" {
		options = append(options, mountutil.Option{Key: "context", Value: m.Label})
	}
	for name, flag := range map[string]uintptr{"sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC} {
		if m.Flags&flag != 0 {
			options = append(options, mountutil.Option{Key: name, Value: ""})
		}
	}
	if err := mountutil.SetOptions(fsfd, options); err != nil {
		return m.fail("fsconfig for", mountutil.WithKernelLog(fsfd, err))
	}
	return nil
}

// setDirectory passes the directory path to the file system context fsfd. If plain is true and fsconfig(2) takes a value of that length,
// setDirectory passes the path itself, and otherwise a name in /proc/self/fd. The kernel looks up the directory during the call, so
// setDirectory can close the descriptor afterwards.
func setDirectory(fsfd int, key, path string, plain bool) error {
	escaped := path
	if key != "lowerdir+" {
		// For upperdir and workdir, the kernel takes a backslash for the beginning of an escape.
		escaped = strings.ReplaceAll(path, `\`, `\\`)
	}
	if plain && len(escaped) < mountutil.MaxParameter {
		return unix.FsconfigSetString(fsfd, key, escaped)
	}
	fd, err := openPath(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.FsconfigSetString(fsfd, key, selfFds+strconv.Itoa(fd))
}

// PlainData returns the data for mount(2). fits reports whether the data can be used: the paths of the lower directories must need no
// escapes, and everything must fit into a page.
func (m Mount) PlainData() (data string, fits bool) {
	for _, lower := range m.Lowers {
		if strings.ContainsAny(lower, `\,:`) {
			return "", false
		}
	}
	data = m.data(m.Lowers)
	return data, len(data) < unix.Getpagesize()
}

// data returns the data for mount(2), with these names for the lower directories.
func (m Mount) data(lowers []string) string {
	data := "lowerdir=" + strings.Join(lowers, ":")
	if m.Upper != "" {
		data += ",upperdir=" + EscapeOption(m.Upper) + ",workdir=" + EscapeOption(m.Work)
	}
	for _, o := range m.options() {
		data += "," + o.Key
		if o.Value != "" {
			data += "=" + o.Value
		}
	}
	return label.FormatMountLabel(data, m.Label)
}

// EscapeOption escapes path so that overlayfs's option parser takes it for one value.
func EscapeOption(path string) string {
	if !strings.ContainsAny(path, `\,`) {
		return path
	}
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(path)
}

func (m Mount) fail(op string, err error) error {
	return &mountutil.Error{
		Op: op, Target: m.Target, Fstype: "overlay", Flags: m.Flags, Err: err,
		Data: fmt.Sprintf("upperdir=%s,workdir=%s,%d lower directories", m.Upper, m.Work, len(m.Lowers)),
	}
}
