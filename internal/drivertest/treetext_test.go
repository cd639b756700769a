//go:build linux

package drivertest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// These functions write trees of files as text, a line for each file.

// A node is one file of a tree.
type node struct {
	// kind is the letter of "find -type", or 'h' for another name of a file.
	kind     byte
	mode     uint32
	uid, gid int
	// mtime is in seconds.
	mtime int64
	// path is relative to the root, which is ".".
	path string
	// value is the content of a regular file, the target of a symbolic link, MAJOR:MINOR of a device, or the first name of an 'h'.
	value string
	// xattrs are written as NAME="VALUE", sorted, with a blank before each.
	xattrs string
}

// String returns the line that parseNode reads.
func (n node) String() string {
	return fmt.Sprintf("%c %04o %d:%d %d %q %q%s", n.kind, n.mode, n.uid, n.gid, n.mtime, n.path, n.value, n.xattrs)
}

func parseNode(line string) (n node, err error) {
	r := strings.NewReader(line)
	_, err = fmt.Fscanf(r, "%c %o %d:%d %d %q %q", &n.kind, &n.mode, &n.uid, &n.gid, &n.mtime, &n.path, &n.value)
	if err != nil {
		return n, fmt.Errorf("%s: %w", line, err)
	}
	n.xattrs = line[len(line)-r.Len():]
	return n, nil
}

// buildTree makes the tree of nodes at root, which must not be there yet.
func buildTree(root string, nodes []node) error {
	for _, n := range nodes {
		err := n.make(root)
		if err == nil && n.kind != 'd' {
			err = n.setMetadata(root)
		}
		if err != nil {
			return fmt.Errorf("making %s: %w", n, err)
		}
	}
	// Making files in a directory has changed its times.
	for _, n := range slices.Backward(nodes) {
		if n.kind != 'd' {
			continue
		}
		if err := n.setMetadata(root); err != nil {
			return fmt.Errorf("making %s: %w", n, err)
		}
	}
	return nil
}

func (n node) make(root string) error {
	path := filepath.Join(root, n.path)
	switch n.kind {
	case 'd':
		return os.Mkdir(path, 0o700)
	case 'f':
		return os.WriteFile(path, []byte(n.value), 0o600)
	case 'l':
		return os.Symlink(n.value, path)
	case 'h':
		return os.Link(filepath.Join(root, n.value), path)
	case 'p':
		return unix.Mkfifo(path, 0o600)
	case 'c', 'b':
		var major, minor uint32
		if _, err := fmt.Sscanf(n.value, "%d:%d", &major, &minor); err != nil {
			return err
		}
		kind := map[byte]uint32{'c': unix.S_IFCHR, 'b': unix.S_IFBLK}[n.kind]
		return unix.Mknod(path, kind|0o600, int(unix.Mkdev(major, minor)))
	}
	return errors.New("there is no such kind of file")
}

// setMetadata must come last, because any other change sets times. It sets the owner first, because that drops capabilities and the setuid bit.
func (n node) setMetadata(root string) error {
	if n.kind == 'h' {
		return nil
	}
	path := filepath.Join(root, n.path)
	if err := os.Lchown(path, n.uid, n.gid); err != nil {
		return err
	}
	if n.kind != 'l' {
		if err := unix.Chmod(path, n.mode); err != nil {
			return err
		}
	}
	for rest := n.xattrs; rest != ""; {
		name, after, _ := strings.Cut(rest[1:], "=")
		quoted, err := strconv.QuotedPrefix(after)
		if err != nil {
			return err
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return err
		}
		if err := system.Lsetxattr(path, name, []byte(value), 0); err != nil {
			return err
		}
		rest = after[len(quoted):]
	}
	when := unix.NsecToTimespec(n.mtime * 1e9)
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW)
}

// listTree is the inverse of buildTree.
func listTree(root string) (nodes []node, err error) {
	first := map[[2]uint64]string{}
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		st, err := fsutil.LstatOf(path)
		if err != nil {
			return err
		}
		id := [2]uint64{st.Dev, st.Ino}
		if before := first[id]; before != "" {
			nodes = append(nodes, node{kind: 'h', path: rel, value: before})
			return nil
		}
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			first[id] = rel
		}
		n, err := nodeOf(path, rel, &st)
		nodes = append(nodes, n)
		return err
	})
	return nodes, err
}

func nodeOf(path, rel string, st *unix.Stat_t) (n node, err error) {
	n = node{mode: st.Mode & 0o7777, uid: int(st.Uid), gid: int(st.Gid), mtime: st.Mtim.Sec, path: rel}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.kind = 'd'
	case unix.S_IFREG:
		n.kind = 'f'
		content, err := os.ReadFile(path)
		if err != nil {
			return n, err
		}
		n.value = string(content)
	case unix.S_IFLNK:
		n.kind = 'l'
		if n.value, err = os.Readlink(path); err != nil {
			return n, err
		}
	case unix.S_IFIFO:
		n.kind = 'p'
	case unix.S_IFCHR, unix.S_IFBLK:
		n.kind = 'c'
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			n.kind = 'b'
		}
		n.value = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	names, err := system.Llistxattr(path)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return n, err
	}
	values := map[string]string{}
	for _, name := range names {
		value, err := system.Lgetxattr(path, name)
		if err != nil {
			return n, err
		}
		values[name] = string(value)
	}
	n.xattrs = formatXattrs(values)
	return n, nil
}

func formatXattrs(values map[string]string) string {
	var all []string
	for name, value := range values {
		// The hosts of some tests label all files.
		if name != "security.selinux" {
			all = append(all, fmt.Sprintf(" %s=%q", name, value))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

// shownTree is listTree for a mount. It leaves out the times of directories, for which union file systems have no rule.
func shownTree(root string) ([]node, error) {
	nodes, err := listTree(root)
	return withoutDirTimes(nodes), err
}

func withoutDirTimes(nodes []node) []node {
	nodes = slices.Clone(nodes)
	for i := range nodes {
		if nodes[i].kind == 'd' {
			nodes[i].mtime = 0
		}
	}
	return nodes
}

// archiveTree returns the tree in an archive. It takes only the name of a whiteout, because the rest means nothing.
func archiveTree(r io.Reader) (nodes []node, err error) {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.path, b.path) })
			return nodes, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, archiveNode(h, string(content)))
	}
}

func archiveNode(h *tar.Header, content string) node {
	path := strings.TrimSuffix(h.Name, "/")
	if strings.HasPrefix(filepath.Base(path), whiteout.Prefix) && h.Typeflag == tar.TypeReg && content == "" {
		return node{kind: 'f', path: path}
	}
	n := node{mode: uint32(h.Mode & 0o7777), uid: h.Uid, gid: h.Gid, mtime: h.ModTime.Unix(), path: path}
	switch h.Typeflag {
	case tar.TypeDir:
		n.kind = 'd'
	case tar.TypeReg:
		n.kind, n.value = 'f', content
	case tar.TypeSymlink:
		n.kind, n.value = 'l', h.Linkname
	case tar.TypeLink:
		return node{kind: 'h', path: path, value: h.Linkname}
	case tar.TypeFifo:
		n.kind = 'p'
	case tar.TypeChar, tar.TypeBlock:
		n.kind = 'c'
		if h.Typeflag == tar.TypeBlock {
			n.kind = 'b'
		}
		n.value = fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
	}
	values := map[string]string{}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			values[name] = value
		}
	}
	n.xattrs = formatXattrs(values)
	return n
}

// linesOf returns nodes as sameTree compares them.
func linesOf(nodes []node) tree {
	tr := tree{}
	for _, n := range nodes {
		tr[n.path] = n.String()
	}
	return tr
}
