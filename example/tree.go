package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// kind is the type of a file, as the letter of "find -type".
type kind byte

// The kinds of files that a layer can hold. Sockets are missing, because an
// archive cannot hold them.
const (
	kindDir     kind = 'd'
	kindFile    kind = 'f'
	kindSymlink kind = 'l'
	kindFifo    kind = 'p'
	kindChar    kind = 'c'
	kindBlock   kind = 'b'
)

// entry is everything that must be equal for one path of two equal trees.
//
// It leaves out what a union mount may choose: inode and device numbers, the link
// count, and all times except the modification times of regular files.
type entry struct {
	Path   string            // Relative to the tree's root, with slashes; "." is the root.
	Kind   kind              //
	Mode   uint32            // Permission bits, with setuid, setgid and sticky.
	UID    int               //
	GID    int               //
	Size   int64             // Bytes, of a regular file.
	Mtime  int64             // Seconds since 1970, of a regular file: archives carry no more.
	Target string            // Of a symlink.
	Rdev   uint64            // Of a device.
	Sum    [sha256.Size]byte // Of a regular file's contents; zero if they were not read.
	Xattrs map[string]string // user.* and security.capability.
	Link   string            // First path of the hard-link group; "" for a file with one name.
}

// tree maps the paths of a directory tree to entries.
type tree map[string]entry

// paths returns the tree's paths, sorted so that a directory comes before its content.
func (t tree) paths() []string {
	return slices.SortedFunc(maps.Keys(t), comparePaths)
}

// bytes returns the size of all regular files. It counts each hard-link group once.
func (t tree) bytes() int64 {
	var n int64
	for p, e := range t {
		if e.Link == "" || e.Link == p {
			n += e.Size
		}
	}
	return n
}

// comparePaths orders paths component by component, so that "a/b" comes right
// after "a" and before "a-b".
func comparePaths(a, b string) int {
	return cmp.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

// under reports whether p is dir or is below dir.
func under(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, dir+"/")
}

// ancestors returns the directories above p except the root, the nearest first.
func ancestors(p string) []string {
	var dirs []string
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	return dirs
}

// difference is one difference between two trees.
type difference struct {
	Path string
	What string // "existence", or a field.
	A, B string // The values in the first and the second tree.
}

// String describes the difference in one line, without names for the trees.
func (d difference) String() string {
	return fmt.Sprintf("%s: %s: %s against %s", d.Path, d.What, d.A, d.B)
}

// compareTrees returns all differences between two trees, in the order of their
// paths. It ignores the paths in ignore.
func compareTrees(a, b tree, ignore map[string]bool) []difference {
	both := maps.Clone(a)
	maps.Copy(both, b)
	var diffs []difference
	for _, p := range both.paths() {
		if !ignore[p] {
			diffs = append(diffs, comparePath(p, a, b)...)
		}
	}
	return diffs
}

// comparePath compares the entries of one path in both trees.
func comparePath(p string, a, b tree) []difference {
	ea, inA := a[p]
	eb, inB := b[p]
	switch {
	case !inA:
		return []difference{{Path: p, What: "existence", A: "none", B: describe(eb)}}
	case !inB:
		return []difference{{Path: p, What: "existence", A: describe(ea), B: "none"}}
	}
	diffs := compareEntries(ea, eb)
	if ea.Link != eb.Link {
		diffs = append(diffs, difference{p, "hard-link group", group(ea), group(eb)})
	}
	return diffs
}

// describe describes an entry in two words.
func describe(e entry) string {
	return fmt.Sprintf("%c %04o", e.Kind, e.Mode)
}

// group describes the hard-link group of an entry.
func group(e entry) string {
	if e.Link == "" {
		return "one name"
	}
	return "that of " + e.Link
}

// compareEntries compares everything but the hard-link group, which depends on other paths too.
func compareEntries(a, b entry) []difference {
	fields := []struct{ what, a, b string }{
		{"type", string(a.Kind), string(b.Kind)},
		{"mode", fmt.Sprintf("%04o", a.Mode), fmt.Sprintf("%04o", b.Mode)},
		{"owner", owner(a), owner(b)},
		{"size", fmt.Sprint(a.Size), fmt.Sprint(b.Size)},
		{"mtime", fmt.Sprint(a.Mtime), fmt.Sprint(b.Mtime)},
		{"target", a.Target, b.Target},
		{"device", fmt.Sprintf("%#x", a.Rdev), fmt.Sprintf("%#x", b.Rdev)},
		{"sha256", fmt.Sprintf("%x", a.Sum), fmt.Sprintf("%x", b.Sum)},
		{"xattrs", xattrString(a), xattrString(b)},
	}
	var diffs []difference
	for _, f := range fields {
		if f.a != f.b {
			diffs = append(diffs, difference{a.Path, f.what, f.a, f.b})
		}
	}
	return diffs
}

// sameEntry reports whether compareEntries finds no difference.
func sameEntry(a, b entry) bool {
	a.Link, b.Link = "", ""
	return a.Path == b.Path && a.Kind == b.Kind && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID &&
		a.Size == b.Size && a.Mtime == b.Mtime && a.Target == b.Target && a.Rdev == b.Rdev &&
		a.Sum == b.Sum && maps.Equal(a.Xattrs, b.Xattrs)
}

// owner returns user and group as "1000:1000".
func owner(e entry) string {
	return fmt.Sprintf("%d:%d", e.UID, e.GID)
}

// xattrString returns the extended attributes in a fixed order.
func xattrString(e entry) string {
	parts := make([]string, 0, len(e.Xattrs))
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		parts = append(parts, fmt.Sprintf("%s=%q", name, e.Xattrs[name]))
	}
	return "{" + strings.Join(parts, " ") + "}"
}
