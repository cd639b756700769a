package listing

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/containers/storage/pkg/system"
)

// Write lists the tree at root, a line for each path in the order of a walk:
//
//	type mode uid:gid size mtime "path" target sha256 xattrs
//
// The type is the letter of "find -type", the mode octal and without the type.
// Size and mtime (in whole seconds) are those of regular files, else 0. The target
// is a symlink's, quoted; for a device major:minor; for the second and later names
// of a hard-linked file "=" and the first one, quoted. The attributes are those
// that archives carry, user.* and security.capability, as name="value" sorted by
// name. What does not apply is "-".
//
// Inode numbers and link counts are left out: union file systems make them up.
func Write(w io.Writer, root string) error {
	out := bufio.NewWriter(w)
	seen := names{}
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		line, err := describe(name, rel, seen)
		if err == nil {
			_, err = fmt.Fprintln(out, line)
		}
		return err
	})
	return errors.Join(err, out.Flush())
}

// names is the first path of each file, by device and inode number.
type names map[[2]uint64]string

// describe is the line for the file called name, whose path in the tree is rel.
func describe(name, rel string, seen names) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return "", &os.PathError{Op: "lstat", Path: name, Err: err}
	}
	var size, mtime int64
	sum := "-"
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		var err error
		if sum, err = contents(name); err != nil {
			return "", err
		}
		size, mtime = st.Size, int64(st.Mtim.Sec) // 32 bits on some machines.
	}
	to, err := target(name, rel, &st, seen)
	if err != nil {
		return "", err
	}
	attrs, err := xattrs(name)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%c %04o %d:%d %d %d %q %s %s %s",
		letter(st.Mode), st.Mode&0o7777, st.Uid, st.Gid, size, mtime, rel, to, sum, attrs), nil
}

// letter is the type in st_mode as a letter.
func letter(mode uint32) byte {
	letters := map[uint32]byte{
		unix.S_IFDIR: 'd', unix.S_IFREG: 'f', unix.S_IFLNK: 'l', unix.S_IFIFO: 'p',
		unix.S_IFCHR: 'c', unix.S_IFBLK: 'b', unix.S_IFSOCK: 's',
	}
	return letters[mode&unix.S_IFMT]
}

// target says what the file stands for: see Write.
func target(name, rel string, st *unix.Stat_t, seen names) (string, error) {
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR {
		id := [2]uint64{st.Dev, st.Ino}
		if first, ok := seen[id]; ok {
			return fmt.Sprintf("=%q", first), nil
		}
		seen[id] = rel
	}
	switch kind {
	case unix.S_IFLNK:
		to, err := os.Readlink(name)
		return fmt.Sprintf("%q", to), err
	case unix.S_IFCHR, unix.S_IFBLK:
		return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
	default:
		return "-", nil
	}
}

// contents is the SHA-256 of a file's contents, in hexadecimal.
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

// xattrs lists the extended attributes, or "-".
func xattrs(name string) (string, error) {
	keys, err := system.Llistxattr(name)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return "", fmt.Errorf("list the attributes of %s: %w", name, err)
	}
	slices.Sort(keys)
	var attrs []string
	for _, key := range keys {
		own := strings.HasPrefix(key, "user.") && !strings.HasPrefix(key, "user.overlay.")
		if !own && key != "security.capability" {
			continue
		}
		value, err := system.Lgetxattr(name, key)
		if err != nil {
			return "", fmt.Errorf("attribute %s of %s: %w", key, name, err)
		}
		attrs = append(attrs, fmt.Sprintf("%s=%q", key, value))
	}
	if len(attrs) == 0 {
		return "-", nil
	}
	return strings.Join(attrs, " "), nil
}
