//go:build linux

package differential

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// maxDepth is the largest number of names in a drawn path.
const maxDepth = 4

// names returns only a few names, so that what was deleted is made again.
func names() []string {
	return []string{"a", "b", "c", "d", "dir", "file", "x y", "ä", "\xff", strings.Repeat("long", 20)}
}

// Draw draws a script of three to six layers. It tries all operations in
// scratch, an empty directory, so that all of them are valid.
func Draw(t *rapid.T, scratch string) Script {
	d := drawer{t: t, root: scratch}
	script := make(Script, rapid.IntRange(3, 6).Draw(t, "layers"))
	for i := range script {
		layer := &script[i]
		layer.OnCopy = i > 0 && rapid.Bool().Draw(t, "on a copy")
		d.t.Repeat(map[string]func(*rapid.T){
			"op": func(*rapid.T) { layer.Ops = append(layer.Ops, d.op(i == 0)) },
		})
	}
	return script
}

// A drawer draws operations that are valid in the tree at root.
type drawer struct {
	t    *rapid.T
	root string

	// These are the files in the tree now, by kind, in order.
	files   []string // regular ones
	others  []string // neither regular nor directories
	dirs    []string
	empty   []string // empty directories
	present map[string]bool
}

// op draws an operation, and carries it out. In the lowest layer, most
// operations make something.
func (d *drawer) op(lowest bool) Op {
	if err := d.look(); err != nil {
		d.t.Fatalf("%v", err)
	}
	choices := d.making()
	if !lowest {
		choices = slices.Concat(choices, d.changing(), d.removing())
	} else if len(d.files) > 3 {
		choices = slices.Concat(choices, choices, d.changing())
	}
	op := rapid.SampledFrom(choices).Draw(d.t, "verb")()
	if op.Verb == remount {
		return op
	}
	if err := op.do(d.root); err != nil {
		d.t.Skip(op, err)
	}
	return op
}

// look finds out what is in the tree.
func (d *drawer) look() error {
	d.files, d.others, d.dirs, d.empty = nil, nil, nil, nil
	d.present = map[string]bool{}
	return filepath.WalkDir(d.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == d.root {
			return err
		}
		rel, err := filepath.Rel(d.root, path)
		if err != nil {
			return err
		}
		d.present[rel] = true
		switch {
		case entry.Type().IsRegular():
			d.files = append(d.files, rel)
		case !entry.IsDir():
			d.others = append(d.others, rel)
		default:
			d.dirs = append(d.dirs, rel)
			content, err := os.ReadDir(path)
			if err != nil {
				return err
			}
			if len(content) == 0 {
				d.empty = append(d.empty, rel)
			}
		}
		return nil
	})
}

// A choice draws the arguments of one verb.
type choice = func() Op

// making returns the choices that make files. Only link needs a file to be
// there.
func (d *drawer) making() []choice {
	choices := []choice{
		func() Op { return newOp("create", d.newPath(), d.mode(), d.size(), d.seed()) },
		func() Op { return newOp("create", d.newPath(), d.mode(), d.size(), d.seed()) },
		func() Op { return newOp("mkdir", d.newPath(), d.mode()) },
		func() Op { return newOp("mkdir", d.newPath(), d.mode()) },
		func() Op { return newOp("symlink", d.newPath(), draw(d.t, "target", names()...)) },
		d.mknod,
	}
	if all := slices.Concat(d.files, d.others); len(all) > 0 {
		choices = append(choices, func() Op { return newOp("link", draw(d.t, "path", all...), d.newPath()) })
	}
	return choices
}

// mknod makes no socket, which archives don't carry, and no device 0/0, which
// overlayfs uses for whiteouts.
func (d *drawer) mknod() Op {
	kind := draw(d.t, "kind", uint32(unix.S_IFIFO), unix.S_IFCHR, unix.S_IFBLK)
	major := 0
	if kind != unix.S_IFIFO {
		major = draw(d.t, "major", 1, 259)
	}
	return newOp("mknod", d.newPath(), fmt.Sprintf("%#o", kind|0o640), fmt.Sprint(major), "3")
}

// changing returns the choices that change existing files.
func (d *drawer) changing() []choice {
	choices := []choice{func() Op { return newOp(remount) }}
	if len(d.files) > 0 {
		file := func() string { return draw(d.t, "path", d.files...) }
		choices = append(choices,
			func() Op { return newOp("write", file(), d.size(), d.seed()) },
			func() Op { return newOp("append", file(), d.size(), d.seed()) },
			func() Op { return newOp("truncate", file(), d.size()) },
			func() Op { return newOp("setxattr", file(), "security.capability", capability) },
		)
	}
	if inner := slices.Concat(d.files, d.dirs); len(inner) > 0 {
		path := func() string { return draw(d.t, "path", inner...) }
		attr := func() string { return draw(d.t, "attribute", "user.a", "user.b") }
		choices = append(choices,
			func() Op { return newOp("chmod", path(), d.mode()) },
			func() Op { return newOp("setxattr", path(), attr(), draw(d.t, "value", "", "1", "\x00\xff")) },
			d.removexattr(inner),
		)
	}
	if all := slices.Concat(d.files, d.dirs, d.others); len(all) > 0 {
		choices = append(choices,
			func() Op { return newOp("chown", draw(d.t, "path", all...), d.id(), d.id()) },
			d.rename, d.rename)
	}
	return choices
}

// removexattr removes an existing attribute, or sets one if there is none.
func (d *drawer) removexattr(paths []string) choice {
	return func() Op {
		type attr struct{ path, name string }
		var attrs []attr
		for _, path := range paths {
			for _, name := range []string{"user.a", "user.b", "security.capability"} {
				if _, err := unix.Lgetxattr(filepath.Join(d.root, path), name, nil); err == nil {
					attrs = append(attrs, attr{path, name})
				}
			}
		}
		if len(attrs) == 0 {
			return newOp("setxattr", draw(d.t, "path", paths...), "user.a", "1")
		}
		a := rapid.SampledFrom(attrs).Draw(d.t, "attribute")
		return newOp("removexattr", a.path, a.name)
	}
}

// rename moves a file or directory to a free path, a file over a file, or a
// directory over an empty directory.
func (d *drawer) rename() Op {
	from := draw(d.t, "path", slices.Concat(d.files, d.dirs, d.others)...)
	to := d.newPath()
	replaced := slices.Concat(d.files, d.others)
	if slices.Contains(d.dirs, from) {
		replaced = d.empty
	}
	if len(replaced) > 0 && rapid.IntRange(0, 2).Draw(d.t, "replace") == 0 {
		to = draw(d.t, "path", replaced...)
	}
	return newOp("rename", from, to)
}

// removing returns the choices that remove files.
func (d *drawer) removing() []choice {
	var choices []choice
	if files := slices.Concat(d.files, d.others); len(files) > 0 {
		unlink := func() Op { return newOp("unlink", draw(d.t, "path", files...)) }
		choices = append(choices, unlink, unlink)
	}
	if len(d.empty) > 0 {
		choices = append(choices, func() Op { return newOp("rmdir", draw(d.t, "path", d.empty...)) })
	}
	if len(d.dirs) > 0 {
		choices = append(choices, func() Op { return newOp("removeall", draw(d.t, "path", d.dirs...)) })
	}
	return choices
}

// newPath draws a free path.
func (d *drawer) newPath() string {
	var dirs []string
	for _, dir := range append([]string{"."}, d.dirs...) {
		if strings.Count(dir, "/")+1 < maxDepth {
			dirs = append(dirs, dir)
		}
	}
	dir := draw(d.t, "directory", dirs...)
	var free []string
	for _, name := range names() {
		if path := filepath.Join(dir, name); !d.present[path] {
			free = append(free, path)
		}
	}
	if len(free) == 0 {
		d.t.Skip("the directory is full")
	}
	return draw(d.t, "path", free...)
}

func (d *drawer) mode() string {
	return draw(d.t, "mode", "0o644", "0o600", "0o755", "0o4755", "0o2711", "0o1777", "0o0")
}

func (d *drawer) size() string { return draw(d.t, "size", "0", "1", "100", "5000", "70000") }

func (d *drawer) seed() string { return fmt.Sprint(rapid.IntRange(0, 99).Draw(d.t, "seed")) }

func (d *drawer) id() string { return draw(d.t, "id", "0", "1", "1000", "65534") }

// capability is the value of security.capability that setcap cap_chown+ep
// writes: revision 2, the effective bit, one permitted capability.
const capability = "\x01\x00\x00\x02" + "\x01\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

func draw[T any](t *rapid.T, label string, from ...T) T {
	return rapid.SampledFrom(from).Draw(t, label)
}

func newOp(verb string, args ...string) Op { return Op{Verb: verb, Args: args} }
