//go:build linux

package layerdiff

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// A HeaderFunc makes the header of a file in an archive. target is the target of a symbolic link.
type HeaderFunc func(name string, info fs.FileInfo, target string) (*tar.Header, error)

// archiver writes the tar archive of a layer. It makes headers as the library's archiver does. It takes the place of
// that archiver, which leaves out files that it cannot read, and only logs that.
//
// A container may be working in the layer meanwhile. archiver leaves out files that are deleted. If a file grows, it
// archives the former length. A file that shrinks is an error.
type archiver struct {
	w    *tar.Writer
	out  *layertar.ChunkWriter // which w writes to
	root string
	form whiteout.Form
	ids  *idmap.Mappings
	// only limits which files are archived. A file whose name begins with .wh. is archived in any case.
	only Paths
	// fileInfoHeader is the library's function.
	fileInfoHeader HeaderFunc
	// open opens a regular file.
	open func(dir *os.File, name string) (*fsutil.RegularFile, error)
	// inherits means that the current directory gives whatever is made in it an access control list.
	inherits bool
	// names has the first name of each file that has several names.
	names map[inode]string
}

// inode identifies a file. A later file that gets the same inode number differs in its time of birth. Where the file
// system does not record births, the size and modification time stand in for it, so that a file that changes meanwhile
// is archived twice.
type inode struct {
	number uint64
	born   unix.StatxTimestamp
	size   int64
	mtime  syscall.Timespec
}

// fileID returns the inode of a file. The file is open as f or, if f is nil, is at path.
func fileID(info fs.FileInfo, f *fsutil.RegularFile, path string) inode {
	fd, flags := unix.AT_FDCWD, unix.AT_SYMLINK_NOFOLLOW
	if f != nil {
		fd, path, flags = f.Fd, "", unix.AT_EMPTY_PATH
	}
	st := fsutil.StatOf(info)
	var stx unix.Statx_t
	if err := unix.Statx(fd, path, flags, unix.STATX_BTIME, &stx); err == nil && stx.Mask&unix.STATX_BTIME != 0 {
		return inode{number: st.Ino, born: stx.Btime}
	}
	return inode{number: st.Ino, size: st.Size, mtime: st.Mtim}
}

// Archive returns the archive of a layer in form f, and releases the layer when the archive ends. below returns the
// layer's ancestors, nearest first; it is called for a layer in overlay form that has an opaque directory. quiet means
// that no container is working in the layer. The caller must close the archive; until then a goroutine waits to write
// more.
func Archive(
	layer *Held, f whiteout.Form, below func() ([]whiteout.LayerDir, error), ids *idmap.Mappings, only Paths, quiet bool, fileInfoHeader HeaderFunc,
) io.ReadCloser {
	reader, out := layertar.NewChunkPipe()
	root := layer.dir.Name()
	open := fsutil.OpenRegular
	if quiet {
		open = fsutil.OpenQuietly
	}
	go func() {
		a := archiver{
			w: tar.NewWriter(out), out: out, root: root, form: f, ids: ids, only: only,
			fileInfoHeader: fileInfoHeader, open: open, names: map[inode]string{},
		}
		err := layer.unlessGone(a.directory(".", lowerRoot(below)))
		if err == nil {
			err = a.w.Close()
		}
		if err != nil {
			err = layer.failed("archiving", err)
		}
		// Close the layer first: whoever reads the end of the archive may unmount the store at once.
		layer.close()
		out.End(err)
	}()
	return reader
}

// directory archives the content of the directory rel. It archives the files first and then the subdirectories, so that
// rel need not stay open while they are read.
func (a *archiver) directory(rel string, under lower) error {
	dir, err := fsutil.OpenDir(a.root, rel)
	if err != nil {
		return err
	}
	below, err := a.files(dir, rel, under)
	if cerr := dir.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	inside := under.inside(rel)
	for _, h := range below {
		if err := a.w.WriteHeader(h); err != nil {
			return err
		}
		a.inherits = len(h.PAXRecords[layertar.PaxXattr+fsutil.ACLDefault]) > layertar.ACLHeaderLen
		path := strings.TrimSuffix(h.Name, "/")
		if err := a.directory(path, inside(filepath.Base(path))); fsutil.IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// files archives the files in an open directory, and its opaque mark if it has one. It returns the headers of the
// subdirectories.
func (a *archiver) files(dir *os.File, rel string, under lower) (below []*tar.Header, err error) {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	// The order must be the same for every form of the layer.
	names := a.archivedNames(dir, entries)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(names[a.Name()], names[b.Name()]) })
	if err := a.mark(dir, rel, entries, under); err != nil {
		return nil, err
	}
	hidden := map[string]bool{}
	for _, entry := range entries {
		if name, ok := whiteout.Of(entry.Name()); ok && a.form == whiteout.AufsForm && entry.Type().IsRegular() {
			hidden[name] = true
		}
	}
	for _, entry := range entries {
		// Aufs lets nobody open a file that has a whiteout of its name beside it. The in-tree driver unpacks both from
		// some archives.
		if whiteout.IsOwnFileIn(a.form, rel == ".", entry.Name()) || hidden[entry.Name()] {
			continue
		}
		path := filepath.Join(rel, entry.Name())
		if !strings.HasPrefix(entry.Name(), whiteout.Prefix) && !a.only.has(path) {
			continue
		}
		h, err := a.entry(dir, entry, path)
		if fsutil.IgnoreGone(err) != nil {
			return nil, err
		}
		if h != nil {
			below = append(below, h)
		}
	}
	return below, nil
}

// archivedNames maps the names of the entries of a directory to their names in the archive. It maps the opaque mark to
// the empty string, so that the mark comes first.
func (a *archiver) archivedNames(dir *os.File, entries []fs.DirEntry) map[string]string {
	names := make(map[string]string, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		names[name] = name
		if a.form == whiteout.AufsForm || entry.Type()&fs.ModeCharDevice == 0 {
			continue
		}
		if info, err := os.Lstat(fsutil.Within(dir, name)); err == nil && whiteout.IsOverlay(info) {
			names[name] = whiteout.Prefix + name
		}
	}
	if _, opaque := names[whiteout.OpaqueMark]; opaque {
		names[whiteout.OpaqueMark] = ""
	}
	return names
}

// entry archives a file in an open directory. rel is the file's path in the archive. For a directory, entry returns the
// header and archives nothing.
func (a *archiver) entry(dir *os.File, entry fs.DirEntry, rel string) (below *tar.Header, err error) {
	if entry.Type().IsRegular() {
		if f, err := a.open(dir, entry.Name()); err == nil {
			defer f.Close()
			return nil, a.regular(f, rel)
		}
	}
	path := fsutil.Within(dir, entry.Name())
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() {
		// The file could not be opened, or was not a regular file a moment ago. If it cannot be opened now either, the
		// error says why.
		f, err := a.open(dir, entry.Name())
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return nil, a.regular(f, rel)
	}
	h, err := a.header(fsutil.PathXattrs(path), rel, info, func() (string, error) { return os.Readlink(path) })
	if h == nil || err != nil || info.IsDir() {
		return h, err
	}
	return nil, a.file(h, info, nil, path)
}

// regular archives an open regular file.
func (a *archiver) regular(f *fsutil.RegularFile, rel string) error {
	h, err := a.header(fsutil.FileXattrs{File: f}, rel, f, nil)
	if err != nil {
		return err
	}
	return a.file(h, f, f, "")
}

// file archives anything but a directory: its header and, for a regular file, which is open as f, its content. Any
// other file is at path.
func (a *archiver) file(h *tar.Header, info fs.FileInfo, f *fsutil.RegularFile, path string) error {
	st := fsutil.StatOf(info)
	// On aufs and on overlayfs, several whiteouts may be links to one file. Each is archived as a file of its own.
	isWhiteout := strings.HasPrefix(filepath.Base(h.Name), whiteout.Prefix) || a.form != whiteout.AufsForm && whiteout.IsOverlay(info)
	several := st.Nlink > 1 && !isWhiteout
	var id inode
	if several {
		id = fileID(info, f, path)
		if first, ok := a.names[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		}
	}
	err := a.w.WriteHeader(h)
	if err == nil && h.Typeflag == tar.TypeReg && h.Size > 0 {
		err = a.content(f, h)
	}
	if err == nil && several && h.Typeflag != tar.TypeLink {
		a.names[id] = h.Name
	}
	return err
}

// mark archives the opaque mark of a directory in overlay form, unless its ancestors show nothing there: before Linux
// 5.15, and since then with some options, overlayfs marks each directory that it makes in one that several layers have
// (ovl_create_upper). A mark that hides nothing does no harm, so it stays if the ancestors cannot be read. In aufs form,
// the mark is a file like others. If a conversion was cut short, a layer in overlay form may have that file as well.
func (a *archiver) mark(dir *os.File, rel string, entries []fs.DirEntry, under lower) error {
	there := slices.ContainsFunc(entries, func(entry fs.DirEntry) bool { return entry.Name() == whiteout.OpaqueMark })
	if there || a.form == whiteout.AufsForm {
		return nil
	}
	opaque, err := whiteout.HasOpaqueXattr(fsutil.Within(dir, "."), a.form)
	if err != nil || !opaque {
		return err
	}
	_, shown, err := under()
	if err != nil {
		logrus.Debugf("aufs: keeping the opaque mark of %s in the archive: %v", filepath.Join(a.root, rel), err)
	} else if !shown {
		return nil
	}
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	return a.w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: filepath.Join(rel, whiteout.OpaqueMark), Mode: whiteout.Mode, ModTime: info.ModTime().Truncate(time.Second),
	})
}

// header returns the header of a file, or nil for a file that no archive has. rel is the file's path in the archive.
// readlink returns the target of a symbolic link.
func (a *archiver) header(xattrs fsutil.XattrReader, rel string, info fs.FileInfo, readlink func() (string, error)) (*tar.Header, error) {
	dir, name := filepath.Split(rel)
	if a.form != whiteout.AufsForm && whiteout.IsOverlay(info) {
		if whiteout.Prefix+name == whiteout.OpaqueMark {
			logrus.Debugf("aufs: no archive can say that %s is deleted: the file would be an opaque mark", filepath.Join(a.root, rel))
			return nil, nil //nolint:nilnil // no archive has it
		}
		return &tar.Header{
			Typeflag: tar.TypeReg, Name: dir + whiteout.Prefix + name, Mode: whiteout.Mode, ModTime: info.ModTime().Truncate(time.Second),
		}, nil
	}
	target := ""
	switch info.Mode() & fs.ModeType {
	case fs.ModeSocket:
		logrus.Debugf("aufs: leaving the socket %s out of the archive", filepath.Join(a.root, rel))
		return nil, nil //nolint:nilnil // a socket has no header
	case fs.ModeSymlink:
		var err error
		if target, err = readlink(); err != nil {
			return nil, err
		}
	}
	h, err := a.fileInfoHeader(rel, info, target)
	if err != nil {
		return nil, err
	}
	// Otherwise archive/tar would round the time, perhaps to one in the future.
	h.ModTime = h.ModTime.Truncate(time.Second)
	attrs, err := archivedXattrs(xattrs)
	if err != nil {
		return nil, err
	}
	if a.inherits && h.Typeflag != tar.TypeSymlink && !strings.HasPrefix(name, whiteout.Prefix) {
		attrs = layertar.WithoutInherited(attrs, info)
	}
	if err := a.addXattrs(h, filepath.Join(a.root, rel), attrs); err != nil {
		return nil, err
	}
	if strings.HasPrefix(name, whiteout.Prefix) {
		// A whiteout's owner means nothing, and the mapping need not know it. Aufs makes whiteouts with the umask of
		// whoever mounted the layer first.
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Mode = whiteout.Mode
		}
		return h, nil
	}
	if !a.ids.Empty() {
		owner, err := a.ids.ToContainer(idmap.Pair{UID: h.Uid, GID: h.Gid})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(a.root, rel), err)
		}
		h.Uid, h.Gid = owner.UID, owner.GID
	}
	return h, nil
}

// addXattrs adds the attributes of the file at path to its header, with the ids that owners in them have in the container.
func (a *archiver) addXattrs(h *tar.Header, path string, attrs map[string]string) error {
	for attr, value := range attrs {
		if strings.Contains(attr, "=") {
			return fmt.Errorf("%s: an archive cannot hold the attribute %q, which has a = in the name", path, attr)
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		if layertar.IsACL(attr) {
			list, left, err := layertar.ACLToContainer([]byte(value), a.ids)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if left > 0 {
				logrus.Warnf("aufs: leaving out %d owners in %s of %s, who have no ids in the container", left, attr, path)
			}
			value = string(list)
		}
		if attr == layertar.CapabilityAttr {
			value = string(layertar.CapabilityToContainer([]byte(value), a.ids))
		}
		h.PAXRecords[layertar.PaxXattr+attr] = value
	}
	return nil
}

// content archives the content of a regular file whose header has been written. It reads the content straight into the
// buffer of the pipe, so that nothing is copied.
func (a *archiver) content(f *fsutil.RegularFile, h *tar.Header) error {
	for left := h.Size; left > 0; {
		room, err := a.out.Room()
		if err != nil {
			return err
		}
		n, err := f.Read(room[:min(left, int64(len(room)))])
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s had %d bytes when the archive began, and has only %d now: %w", filepath.Join(a.root, h.Name), h.Size, h.Size-left, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		if _, err := a.w.Write(room[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}
