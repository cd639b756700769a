package listing

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An Entry is everything in which equal trees agree for one path. Entries can
// be compared with ==.
//
// It leaves out inode numbers and link counts, because union file systems make
// them up.
type Entry struct {
	Path     string // relative to the root, which is "."
	Type     byte   // the letter of "find -type"
	Mode     uint32 // without the type
	UID, GID uint32
	Size     int64  // in bytes, of a regular file, else 0
	Mtime    int64  // in nanoseconds since 1970
	Target   string // of a symlink
	Rdev     uint64 // of a device
	Sum      string // SHA-256 of a regular file's contents, in hexadecimal
	// Link is set for the second and later names of a hard-linked file. It is
	// the file's first name in the order of a walk.
	Link string
	// Xattrs are the extended attributes that archives carry, as name="value"
	// sorted by name: security.capability, and user.* except user.overlay.*.
	Xattrs string
}

// Read returns the entries of the tree at root in the order of a walk.
func Read(root string) ([]Entry, error) {
	var entries []Entry
	seen := names{}
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		e, err := describe(name, rel, seen)
		entries = append(entries, e)
		return err
	})
	return entries, err
}

// Write lists the tree at root, a line for each path in the order of a walk:
//
//	type mode uid:gid size mtime "path" target sha256 xattrs
//
// The mode is octal. The mtime is in whole seconds for a regular file, and 0
// for any other file. The target is quoted for a symlink, and major:minor for a
// device; for a file with a Link it is "=" and the quoted Link. A "-" stands
// for what does not apply.
func Write(w io.Writer, root string) error {
	entries, err := Read(root)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	for _, e := range entries {
		fmt.Fprintln(out, e.line())
	}
	return out.Flush()
}

// line returns the line that Write writes for the entry.
func (e Entry) line() string {
	var mtime int64
	if e.Type == 'f' {
		mtime = e.Mtime / 1e9
	}
	return fmt.Sprintf("%c %04o %d:%d %d %d %q %s %s %s",
		e.Type, e.Mode, e.UID, e.GID, e.Size, mtime, e.Path, e.target(), orDash(e.Sum), orDash(e.Xattrs))
}

// target returns the target that Write writes for the entry.
func (e Entry) target() string {
	switch {
	case e.Link != "":
		return fmt.Sprintf("=%q", e.Link)
	case e.Type == 'l':
		return fmt.Sprintf("%q", e.Target)
	case e.Type == 'c' || e.Type == 'b':
		return fmt.Sprintf("%d:%d", unix.Major(e.Rdev), unix.Minor(e.Rdev))
	default:
		return "-"
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// names has the first path of each file, by device and inode number.
type names map[[2]uint64]string

// describe returns the entry of the file name, whose path in the tree is rel.
func describe(name, rel string, seen names) (Entry, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return Entry{}, &os.PathError{Op: "lstat", Path: name, Err: err}
	}
	e := Entry{
		Path: rel, Type: letter(st.Mode), Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Mtime: st.Mtim.Nano(),
	}
	if e.Type != 'd' {
		id := [2]uint64{st.Dev, st.Ino}
		e.Link = seen[id]
		if e.Link == "" {
			seen[id] = rel
		}
	}
	var err error
	switch e.Type {
	case 'f':
		e.Size = st.Size
		e.Sum, err = contents(name)
	case 'l':
		e.Target, err = os.Readlink(name)
	case 'c', 'b':
		e.Rdev = st.Rdev
	}
	if err != nil {
		return e, err
	}
	e.Xattrs, err = xattrs(name)
	return e, err
}

// letter returns the type in st_mode as a letter.
func letter(mode uint32) byte {
	letters := map[uint32]byte{
		unix.S_IFDIR: 'd', unix.S_IFREG: 'f', unix.S_IFLNK: 'l', unix.S_IFIFO: 'p',
		unix.S_IFCHR: 'c', unix.S_IFBLK: 'b', unix.S_IFSOCK: 's',
	}
	return letters[mode&unix.S_IFMT]
}

// contents returns the SHA-256 of a file's contents, in hexadecimal.
func contents(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// xattrs returns the extended attributes of a file, as Entry has them.
func xattrs(name string) (string, error) {
	keys, err := XattrNames(name)
	if err != nil {
		return "", err
	}
	slices.Sort(keys)
	var attrs []string
	for _, key := range keys {
		own := strings.HasPrefix(key, "user.") && !strings.HasPrefix(key, "user.overlay.")
		if !own && key != "security.capability" {
			continue
		}
		value, err := Xattr(name, key)
		if err != nil {
			return "", fmt.Errorf("attribute %s: %w", key, err)
		}
		attrs = append(attrs, fmt.Sprintf("%s=%q", key, value))
	}
	return strings.Join(attrs, " "), nil
}
