package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/system"
)

// walker reads a directory tree.
type walker struct {
	root  string
	input bool        // The tree is for layers: do not read contents, and skip what no layer can hold.
	seen  func(int64) // Called with 1 for each path, for a progress bar.
	tree  tree
	links map[inode]string // First path of each file, by inode.
}

// inode identifies a file within one walk. Union file systems make the numbers up
// and may give others at the next mount.
type inode struct{ dev, ino uint64 }

// readTree returns the tree at root with the checksums of all contents.
func readTree(root string, seen func(int64)) (tree, error) {
	return (&walker{root: root, seen: seen}).read()
}

// scanInput returns the tree at root for layers. It does not read contents, and
// skips sockets and names that have another meaning in a layer.
func scanInput(root string, seen func(int64)) (tree, error) {
	return (&walker{root: root, input: true, seen: seen}).read()
}

// read walks the tree.
func (w *walker) read() (tree, error) {
	w.tree = tree{}
	w.links = map[inode]string{}
	// WalkDir goes in the order of comparePaths, so equal trees have the same
	// first name of a hard-link group.
	err := filepath.WalkDir(w.root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if w.input && !fitsLayer(d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		w.seen(1)
		return w.add(name)
	})
	return w.tree, err
}

// fitsLayer reports whether the archive of a layer can hold the file.
func fitsLayer(d fs.DirEntry) bool {
	return d.Type()&fs.ModeSocket == 0 && !strings.HasPrefix(d.Name(), archive.WhiteoutPrefix)
}

// add reads the file called name into the tree.
func (w *walker) add(name string) error {
	rel, err := filepath.Rel(w.root, name)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: name, Err: err}
	}
	e := entryFromStat(rel, &st)
	if err := w.readDetails(name, &e); err != nil {
		return err
	}
	if e.Kind != kindDir {
		w.group(&e, inode{st.Dev, st.Ino})
	}
	w.tree[rel] = e
	return nil
}

// readDetails reads what lstat does not return.
func (w *walker) readDetails(name string, e *entry) (err error) {
	if e.Kind == kindSymlink {
		if e.Target, err = os.Readlink(name); err != nil {
			return err
		}
	}
	if e.Xattrs, err = readXattrs(name); err != nil {
		return err
	}
	if e.Kind == kindFile && !w.input {
		e.Sum, err = sumFile(name)
	}
	return err
}

// group records that e is one name of the inode. It does not use the link count,
// which on a union file system may include names that nobody sees.
func (w *walker) group(e *entry, id inode) {
	first, ok := w.links[id]
	if !ok {
		w.links[id] = e.Path
		return
	}
	e.Link = first
	head := w.tree[first]
	head.Link = first
	w.tree[first] = head
}

// entryFromStat returns the part of an entry that comes from lstat(2).
func entryFromStat(rel string, st *unix.Stat_t) entry {
	e := entry{Path: rel, Kind: kindOf(st.Mode), Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid)}
	switch e.Kind {
	case kindFile:
		e.Size, e.Mtime = st.Size, int64(st.Mtim.Sec) //nolint:unconvert // 32 bits on some machines
	case kindChar, kindBlock:
		e.Rdev = st.Rdev
	}
	return e
}

// kindOf returns the type in st_mode.
func kindOf(mode uint32) kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return kindDir
	case unix.S_IFLNK:
		return kindSymlink
	case unix.S_IFIFO:
		return kindFifo
	case unix.S_IFCHR:
		return kindChar
	case unix.S_IFBLK:
		return kindBlock
	default:
		return kindFile
	}
}

// readXattrs returns the attributes that an archive carries. It leaves out
// overlayfs's own attributes.
func readXattrs(name string) (map[string]string, error) {
	names, err := system.Llistxattr(name)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the attributes of %s: %w", name, err)
	}
	var attrs map[string]string
	for _, key := range names {
		if key != "security.capability" && !strings.HasPrefix(key, "user.") || strings.HasPrefix(key, "user.overlay.") {
			continue
		}
		value, err := system.Lgetxattr(name, key)
		if err != nil {
			return nil, fmt.Errorf("attribute %s of %s: %w", key, name, err)
		}
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs[key] = string(value)
	}
	return attrs, nil
}

// sumFile returns the SHA-256 of a file's contents.
func sumFile(name string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, fmt.Errorf("read %s: %w", name, err)
	}
	h.Sum(sum[:0])
	return sum, nil
}
