//go:build linux

package imagetest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed-642172e2/aufs/internal/imagetest/layout"
)

// Names in a layer that are not files, as in layer.md of the OCI image specification.
const (
	whiteoutPrefix = ".wh."
	opaqueMark     = ".wh..wh..opq"
	xattrRecord    = "SCHILY.xattr."
)

// counts are numbers of members in an image's layers.
type counts struct{ files, whiteouts, opaque, links, attributes, nodes int }

// unpackImage unpacks an image's layers on top of one another into a plain
// directory. It follows layer.md to the letter, without a driver or a library.
// It trusts the archives.
func unpackImage(t *testing.T, i *layout.Image, root string) counts {
	t.Helper()
	// Drivers make the root of a layer without a parent with this mode.
	must(t, os.Mkdir(root, 0o555))
	u := unpacker{root: root}
	for n, layer := range i.Manifest.Layers {
		// A whiteout applies only to the layers below, wherever in its layer it stands.
		for _, pass := range []func(*tar.Header, io.Reader) error{u.hide, u.bring} {
			blob, err := i.Blob(layer.Digest)
			must(t, err)
			if err := errors.Join(layout.EachMember(blob, pass), blob.Close()); err != nil {
				t.Fatalf("unpacking layer %d: %v", n+1, err)
			}
		}
		must(t, u.setDirTimes())
	}
	return u.counts
}

// An unpacker applies layers.
type unpacker struct {
	root   string
	counts counts
	// dirs are the directories that the layer has. Their times change when
	// something is put into them.
	dirs []*tar.Header
}

// hide deletes what a whiteout or an opaque mark hides.
func (u *unpacker) hide(h *tar.Header, _ io.Reader) error {
	dir, name := path.Split(path.Clean(h.Name))
	hidden, whiteout := strings.CutPrefix(name, whiteoutPrefix)
	switch {
	case name == opaqueMark:
		u.counts.opaque++
		return removeContent(filepath.Join(u.root, dir))
	case whiteout:
		u.counts.whiteouts++
		return os.RemoveAll(filepath.Join(u.root, dir, hidden))
	}
	return nil
}

// removeContent deletes everything in a directory. It does nothing if there is no directory.
func removeContent(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil
	}
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}

// bring makes the file of a member.
func (u *unpacker) bring(h *tar.Header, content io.Reader) error {
	if strings.HasPrefix(path.Base(h.Name), whiteoutPrefix) {
		return nil
	}
	u.counts.files++
	if path.Clean(h.Name) == "." {
		// Some versions of the storage library leave the root directory as its driver made it.
		if !libraryAppliesRoot {
			return nil
		}
		return errors.Join(os.Lchown(u.root, h.Uid, h.Gid), os.Chmod(u.root, h.FileInfo().Mode()))
	}
	target := filepath.Join(u.root, h.Name)
	if err := makeWay(h, target); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		u.counts.links++
		return os.Link(filepath.Join(u.root, h.Linkname), target)
	}
	if err := u.make(h, target, content); err != nil {
		return err
	}
	return u.setMetadata(h, target)
}

// makeWay removes what is in the member's place, except a directory that stays a directory.
func makeWay(h *tar.Header, target string) error {
	info, err := os.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() && h.Typeflag == tar.TypeDir {
		return nil
	}
	return errors.Join(err, os.RemoveAll(target))
}

// make makes a file or directory that is not a link to another file.
func (u *unpacker) make(h *tar.Header, target string, content io.Reader) error {
	device := int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	switch h.Typeflag {
	case tar.TypeDir:
		u.dirs = append(u.dirs, h)
		err := os.Mkdir(target, 0o700)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, target)
	case tar.TypeReg:
		f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close())
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		u.counts.nodes++
		types := map[byte]uint32{tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK}
		return unix.Mknod(target, types[h.Typeflag]|0o600, device)
	default:
		return fmt.Errorf("type %q is not expected", h.Typeflag)
	}
}

// setMetadata gives a file everything but its content.
func (u *unpacker) setMetadata(h *tar.Header, target string) error {
	if err := os.Lchown(target, h.Uid, h.Gid); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		// chmod comes after chown, which clears the setuid bit and the capabilities.
		if err := unix.Chmod(target, uint32(h.Mode)&0o7777); err != nil {
			return err
		}
	}
	for record, value := range h.PAXRecords {
		key, ok := strings.CutPrefix(record, xattrRecord)
		if !ok {
			continue
		}
		u.counts.attributes++
		err := unix.Lsetxattr(target, key, []byte(value), 0)
		// The storage library leaves attributes out too if the file system does
		// not support them: tmpfs before Linux 6.6.
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return setTime(h, target)
}

// setTime sets the modification time of a file.
func setTime(h *tar.Header, target string) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(h.ModTime.UnixNano())}
	return unix.UtimesNanoAt(unix.AT_FDCWD, target, times, unix.AT_SYMLINK_NOFOLLOW)
}

// setDirTimes sets the times of the layer's directories at the end of the layer.
func (u *unpacker) setDirTimes() error {
	var errs []error
	for _, h := range u.dirs {
		errs = append(errs, setTime(h, filepath.Join(u.root, h.Name)))
	}
	u.dirs = nil
	return errors.Join(errs...)
}
