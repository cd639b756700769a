//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containers/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// An overlay twin is a directory that shows overlayfs what a layer's directory shows aufs: directories of its own, with
// the layer's files as hard links, and whiteouts and opaque directories in overlay form. A layer without whiteouts needs
// none.

// twinKnown returns the lower directory for the layer id, which is at rest, in form f, if the cache has the answer.
func (h home) twinKnown(id string, f form) (string, bool) {
	if wasWritable(h.diff(id)) {
		return "", false
	}
	stamp, err := rootStamp(h.diff(id))
	if err != nil {
		return "", false
	}
	twin, ok := h.twins().known(id, string(f)+" "+stamp)
	if twin == "" {
		twin = h.diff(id)
	}
	return twin, ok
}

// twinFind finds out if the layer id, which is at rest, needs a twin in form f, makes it, and returns the lower
// directory. generation is what use has returned. The caller holds the lock of id.
func (h home) twinFind(id string, f form, generation string) (string, error) {
	// The stamp is that of before the layer is read: what changes in between shows.
	stamp, err := rootStamp(h.diff(id))
	if err != nil {
		return "", err
	}
	twin, err := h.twins().find(id, string(f)+" "+stamp, recipe{
		needed: func() (bool, error) {
			marks, err := findMarks(h.diff(id), aufsForm)
			return marks != nil, err
		},
		make:       func(root string) error { return makeTwin(h.diff(id), aufsForm, root, f) },
		generation: generation,
	})
	if twin == "" {
		twin = h.diff(id)
	}
	return twin, err
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
	if err := mkdirBeneath(target, rel); err != nil {
		return err
	}
	if err := twinFiles(root, rel, l, target, to); err != nil {
		return err
	}
	for name, entry := range l.entries {
		// A file beside its own whiteout is hidden, with aufs.
		if !entry.IsDir() || l.whiteouts[name] {
			continue
		}
		if err := twinDirectory(root, filepath.Join(rel, name), from, target, to); err != nil {
			return err
		}
	}
	source, done, err := reachable(root, rel)
	if err != nil {
		return err
	}
	defer done()
	dir, tdone, err := reachable(target, rel)
	if err != nil {
		return err
	}
	defer tdone()
	return copyDirMetadata(source, from, dir)
}

// twinFiles makes all that is in the twin of the directory rel, of which l is the listing, but for directories.
func twinFiles(root, rel string, l listing, target string, to form) error {
	dir, done, err := reachable(target, rel)
	if err != nil {
		return err
	}
	defer done()
	w := whiteoutMaker{dir: dir, anew: makeOverlayWhiteout}
	for name := range l.whiteouts {
		if err := w.make(name); err != nil {
			return err
		}
	}
	if len(l.whiteouts) > 0 {
		if err := markWhiteouts(dir, to); err != nil {
			return err
		}
	}
	if l.opaque {
		if err := system.Lsetxattr(dir, to.xattrPrefix()+"opaque", []byte("y"), 0); err != nil {
			return err
		}
	}
	opened, err := openDir(root, rel)
	if err != nil {
		return err
	}
	defer opened.Close()
	for name, entry := range l.entries {
		if entry.IsDir() || l.whiteouts[name] {
			continue
		}
		if err := refuseDevice(filepath.Join(root, rel), entry); err != nil {
			return err
		}
		if err := linkFrom(opened, name, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// linkFrom makes target a hard link to the file name in the open directory dir; of a symbolic link, to the link.
func linkFrom(dir *os.File, name, target string) error {
	if err := unix.Linkat(int(dir.Fd()), name, unix.AT_FDCWD, target, 0); err != nil {
		return &os.LinkError{Op: "link", Old: filepath.Join(dir.Name(), name), New: target, Err: err}
	}
	return nil
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
	return copyTimes(target, st)
}

// copyTimes gives the file path the times of access and modification that st has. It follows no symbolic link.
func copyTimes(path string, st *syscall.Stat_t) error {
	times := []unix.Timespec{unix.Timespec(st.Atim), unix.Timespec(st.Mtim)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "setting the times of", Path: path, Err: err}
	}
	return nil
}
