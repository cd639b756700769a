//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// An overlay twin is a directory that shows overlayfs what a layer's directory shows aufs: directories of its own, with
// the layer's files as hard links, and whiteouts and opaque directories in overlay form.
//
// twin/<id> holds the twin of a layer that is at rest, in root/, and a file stamp that says what it was made from. A
// layer without whiteouts needs no twin, and has a stamp alone. Without the stamp, a twin is not used.

const (
	twinRoot  = "root"
	twinStamp = "stamp"
)

// stampPlain and stampTwin end a stamp: does the layer need a twin?
const (
	stampPlain = "plain"
	stampTwin  = "twin"
)

// stampOf is what a twin in form f of the layer at dir is stamped with. The root directory's times are enough where all
// that changes the layer drops the stamp.
func stampOf(dir string, f form) (string, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	st := statOf(info)
	return fmt.Sprintf("%s %d %d %d.%09d %d.%09d ", f, st.Dev, st.Ino, st.Ctim.Sec, st.Ctim.Nsec, st.Mtim.Sec, st.Mtim.Nsec), nil
}

// dropTwin says that the twin of the layer id is no longer true. The directory stays: a mount may be using it.
func (h home) dropTwin(id string) error {
	err := os.Remove(h.overlay(twinDir, id, twinStamp))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return layerError("dropping the overlay twin of", id, err)
	}
	return nil
}

// knownLower returns the lower directory for the layer id in form f, if a stamp that holds says which. A layer that was
// a writable branch of aufs may have been changed by another driver, deep inside; there is no stamp for such a one.
func (h home) knownLower(id string, f form) (string, bool) {
	content, err := os.ReadFile(h.overlay(twinDir, id, twinStamp))
	if err != nil || wasWritable(h.diff(id)) {
		return "", false
	}
	stamp, err := stampOf(h.diff(id), f)
	if err != nil {
		return "", false
	}
	switch string(content) {
	case stamp + stampPlain:
		return h.diff(id), true
	case stamp + stampTwin:
		return h.overlay(twinDir, id, twinRoot), true
	}
	return "", false
}

// wasWritable tells if the layer at dir has been a writable branch: aufs then has left its files there.
func wasWritable(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, ".wh..wh.aufs"))
	return err == nil
}

// makeLower finds out if the layer id, which is at rest, needs a twin in form f, makes it, stamps what it found, and
// returns the lower directory. The caller holds the lock of id.
func (h home) makeLower(id string, f form) (string, error) {
	// The stamp is that of before the layer is read: what changes in between shows.
	stamp, err := stampOf(h.diff(id), f)
	if err != nil {
		return "", err
	}
	marks, err := findMarks(h.diff(id))
	if err != nil {
		return "", err
	}
	s, err := h.newScratch("twin")
	if err != nil {
		return "", err
	}
	lower, kind := h.diff(id), stampPlain
	if marks {
		lower, kind = h.overlay(twinDir, id, twinRoot), stampTwin
		err = makeTwin(h.diff(id), aufsForm, filepath.Join(s.dir, "new", twinRoot), f)
	} else {
		err = os.Mkdir(filepath.Join(s.dir, "new"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(s.dir, "new", twinStamp), []byte(stamp+kind), 0o600)
	}
	if err == nil {
		err = h.putTwin(id, filepath.Join(s.dir, "new"))
	}
	return lower, errors.Join(err, s.remove())
}

// putTwin makes the directory made the twin of the layer id. One that was there goes out of the way, but is not deleted.
func (h home) putTwin(id, made string) error {
	for _, dir := range []string{twinDir, oldDir} {
		if err := os.MkdirAll(h.overlay(dir), 0o700); err != nil {
			return err
		}
	}
	old, err := os.MkdirTemp(h.overlay(oldDir), "twin-")
	if err != nil {
		return err
	}
	err = os.Rename(h.overlay(twinDir, id), filepath.Join(old, id))
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Remove(old)
	}
	if err != nil {
		return err
	}
	return os.Rename(made, h.overlay(twinDir, id))
}

// makeTwin makes target a twin, in form to, of the layer at root, which is in form from.
func makeTwin(root string, from form, target string, to form) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	return twinDirectory(root, ".", from, target, to)
}

// twinDirectory makes the twin of the one directory rel, and of those below it.
func twinDirectory(root, rel string, from form, target string, to form) error {
	l, err := readListing(root, rel, from)
	if err != nil {
		return err
	}
	source, dir := filepath.Join(root, rel), filepath.Join(target, rel)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name := range l.whiteouts {
		if err := unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR, 0); err != nil {
			return &fs.PathError{Op: "making the whiteout", Path: filepath.Join(dir, name), Err: err}
		}
	}
	for name, entry := range l.entries {
		// A file beside its own whiteout is hidden, with aufs.
		if l.whiteouts[name] {
			continue
		}
		if entry.IsDir() {
			err = twinDirectory(root, filepath.Join(rel, name), from, target, to)
		} else if err = refuseDevice(filepath.Join(source, name), entry); err == nil {
			err = os.Link(filepath.Join(source, name), filepath.Join(dir, name))
		}
		if err != nil {
			return err
		}
	}
	if l.opaque {
		if err := system.Lsetxattr(dir, to.xattrPrefix()+"opaque", []byte("y"), 0); err != nil {
			return err
		}
	}
	return copyDirMetadata(source, from, dir)
}

// copyDirMetadata gives the directory target the owner, mode, times and extended attributes of source, but for those
// that overlayfs has set there in form f. It comes last: making entries changes the times, and a change of owner the
// mode.
func copyDirMetadata(source string, f form, target string) error {
	info, err := os.Lstat(source)
	if err != nil {
		return err
	}
	names, err := system.Llistxattr(source)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	for _, name := range names {
		if f != aufsForm && strings.HasPrefix(name, f.xattrPrefix()) {
			continue
		}
		value, err := system.Lgetxattr(source, name)
		if err == nil {
			err = system.Lsetxattr(target, name, value, 0)
		}
		if err != nil {
			return err
		}
	}
	st := statOf(info)
	if err := os.Lchown(target, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(target, st.Mode&0o7777); err != nil {
		return &fs.PathError{Op: "chmod", Path: target, Err: err}
	}
	times := []unix.Timespec{unix.Timespec(st.Atim), unix.Timespec(st.Mtim)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, target, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: target, Err: err}
	}
	return nil
}
