//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

func FuzzParents(f *testing.F) {
	for _, text := range []string{"", "a\n", "a\nb\n", "a\n\nb", "../x\n", "self\n", "a\na\n", "a\r\nb\r\n", "\x00\n", "...\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		parents, err := store.ParseParents("self", content)
		if err != nil {
			return
		}
		for _, parent := range parents {
			if store.CheckID(parent) != nil || parent == "self" || filepath.Base(parent) != parent {
				t.Errorf("%q is a parent", parent)
			}
		}
		again, err := store.ParseParents("self", store.FormatParents(parents))
		if err != nil || !slices.Equal(again, parents) {
			t.Errorf("%q, and from what is written of it %q, %v", parents, again, err)
		}
	})
}

func FuzzMountOptions(f *testing.F) {
	for _, text := range []string{"", "ro", "ro,rw", "nodev,nosuid", "dio,nodio", "br:/etc=rw", "udba=none,ro", "xino=/etc/passwd", " ro , noexec", "append:/=rw", "sum,wsum", "volatile,sync"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := backend.ParseMountOptions([]string{text})
		if err != nil {
			return
		}
		if o.Volatile && o.Synchronous() {
			t.Error("it syncs everything, and nothing")
		}
		for _, option := range o.Data {
			name, _, _ := strings.Cut(option, "=")
			if strings.ContainsAny(option, ",") || backend.DriverSettings[name] || backend.AufsSettings[name] == "" {
				t.Errorf("%q is passed to aufs", option)
			}
		}
	})
}

func FuzzMountCalls(f *testing.F) {
	f.Add(uint16(3), uint8(10), uint8(2), uint16(4095), "context=x")
	f.Add(uint16(200), uint8(200), uint8(5), uint16(4095), "")
	f.Add(uint16(70), uint8(1), uint8(63), uint16(100), "")
	f.Fuzz(func(t *testing.T, n uint16, length, options uint8, most uint16, every string) {
		if n > 2000 {
			n %= 2000
		}
		var branches []aufsfs.Branch
		for i := range int(n) {
			branches = append(branches, aufsfs.Branch{Path: "/" + strings.Repeat("x", int(length)) + string(rune('a'+i%26)), Permission: "ro+wh"})
		}
		var tail []string
		for range options {
			tail = append(tail, "dio")
		}
		calls, err := aufsfs.Calls(branches, tail, strings.ReplaceAll(every, ",", ""), int(most))
		if err != nil {
			return
		}
		var all []string
		total := 0
		for i, call := range calls {
			if len(call.Data) > int(most) {
				t.Errorf("call %d has %d bytes, and no more than %d are allowed", i, len(call.Data), most)
			}
			data := strings.TrimPrefix(call.Data, "br:")
			data = strings.ReplaceAll(strings.ReplaceAll(data, ",append:", ":"), "append:", "")
			parts := strings.Split(data, ",")
			named := strings.Split(parts[0], ":")
			if len(named) != call.Branches || len(named)+len(parts)-1 > aufsfs.MaxOptionsPerCall {
				t.Errorf("call %d has %d branches, not %d, and %d options", i, len(named), call.Branches, len(parts)-1)
			}
			all = append(all, named...)
			total += call.Branches
		}
		if total != len(branches) {
			t.Fatalf("%d branches of %d", total, len(branches))
		}
		for i, b := range branches {
			if all[i] != b.String() {
				t.Fatalf("branch %d is %s, not %s", i, all[i], b)
			}
		}
	})
}

// FuzzMountinfo looks for an upper directory in the line that the kernel would write about its mount.
func FuzzMountinfo(f *testing.F) {
	for _, path := range []string{"/a", "/a b", "/a,b", "/a=b", `/a\b`, "/a\tb", "/a\nb", "/,upperdir=/x", "/a#b", "/é"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if strings.ContainsRune(path, 0) || !utf8.ValidString(path) || strings.Contains(path, "\r") {
			t.Skip("not a path that is of interest")
		}
		line := "36 35 98:0 / /mnt rw,noatime shared:1 - overlay overlay rw,lowerdir=/l,upperdir=" + inuse.EscapeMountinfo(path) + ",workdir=/w\n"
		file := filepath.Join(t.TempDir(), "mountinfo")
		if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		for want, is := range map[string]bool{path: true, path + "x": false, "x" + path: false} {
			found, err := inuse.InMountinfo(file, "overlay", "upperdir="+inuse.EscapeMountinfo(want))
			if err != nil || found != nil != is {
				t.Errorf("%q in %q: %v, %v", want, line, found, err)
			}
		}
	})
}

// FuzzConversion makes a layer from bytes, and converts it to overlay form and back, each way twice. The layer must be the same again. A
// layer that cannot be converted back is refused beforehand.
func FuzzConversion(f *testing.F) {
	for _, text := range []string{"f", "fw", "dwfu", "dofwu", "cd", "dddfuuu", "wxyz", "nfdnw", "slds"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if os.Getuid() != 0 {
			t.Skip("overlayfs's attributes take root")
		}
		if len(program) > 200 {
			program = program[:200]
		}
		dir := t.TempDir()
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		layerOf(root, program)
		if _, err := (whiteout.Search{Root: root, All: true}).Find(); err != nil {
			return
		}
		// The conversion makes whiteouts anew, with a new time. Aufs makes its own file when it needs the file.
		read := func() tree {
			all := readTree(t, root)
			delete(all, whiteout.Base)
			for path := range all {
				if strings.HasPrefix(filepath.Base(path), ".wh.") {
					all[path] = "whiteout"
				}
			}
			return all
		}
		want := read()
		for range 2 {
			inOverlayForm(t, root, whiteout.OverlayTrusted)
		}
		for range 2 {
			must(t, whiteout.ToAufsForm(root, whiteout.OverlayTrusted))
		}
		sameTree(t, read(), want)
	})
}

// FuzzArchive applies archives, some of which are cut short. Their members are drawn from names, types and targets that do harm. It is slow:
// each archive goes through everything that the driver does with a layer.
func FuzzArchive(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\x01\x00\x0c\x02\x01\x0d\x00\x00"), uint16(0))
	f.Add([]byte("\x0c\x02\x02\x0f\x00\x00\x03\x00\x00"), uint16(0))
	f.Add([]byte("\x0c\x03\x01\x0c\x00\x00\x0a\x00\x00\x10\x01\x00"), uint16(600))
	f.Fuzz(func(t *testing.T, program []byte, length uint16) {
		if len(program) > 60 {
			t.Skip("more of the same")
		}
		content := packed(t, membersOf(program)...)
		if length > 0 {
			content = content[:min(int(length), len(content))]
		}
		newVictim(t, hostBackends(t)[0]).tryArchive(t, content)
	})
}

// membersOf makes a member of an archive from each three bytes of program: its name, its type and its target.
func membersOf(program []byte) []member {
	names := []string{
		"f", "d", "d/f", "d/.wh.f", ".wh.d", ".wh..wh..opq", "d/.wh..wh..opq", ".wh..", ".wh...", "..", "../outside/secret",
		"d/../../outside/d/x", "a", "a/b", "a/b/c", "a/secret", "d/a/x", ".wh..wh.plnk/x", ".wh..wh.aufs", ".", strings.Repeat("l", 255),
	}
	types := []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeFifo}
	targets := []string{"f", "../outside", "../../outside/secret", "/", "..", "a", "d", "/proc/self/root/etc"}
	var members []member
	for ; len(program) >= 3; program = program[3:] {
		m := member{
			Name: names[int(program[0])%len(names)], Typeflag: types[int(program[1])%len(types)],
			// For a device. The overlay backend refuses the device 0/0.
			Devmajor: 1, Devminor: 3,
		}
		switch m.Typeflag {
		case tar.TypeSymlink, tar.TypeLink:
			m.Linkname = targets[int(program[2])%len(targets)]
		case tar.TypeReg:
			m.Size = int64(program[2])
		}
		members = append(members, m)
	}
	return members
}

// layerOf makes a layer at root: each byte of program is a step. It leaves out a step that cannot be done.
func layerOf(root string, program []byte) {
	dir := root
	for n, step := range program {
		name := string(rune('a' + n%5))
		path := filepath.Join(dir, name)
		switch step {
		case 'd':
			if os.Mkdir(path, 0o755) == nil {
				dir = path
			}
		case 'u':
			if dir != root {
				dir = filepath.Dir(dir)
			}
		case 'o':
			_ = whiteout.MakeMark(fsutil.Anywhere, filepath.Join(dir, ".wh..wh..opq"))
		case 'w':
			_ = whiteout.MakeMark(fsutil.Anywhere, filepath.Join(dir, ".wh."+name))
		case 'a':
			_ = whiteout.MakeMark(fsutil.Anywhere, filepath.Join(dir, ".wh..wh.aufs"))
		case 's':
			_ = os.Symlink("a", path)
		case 'c':
			_ = unix.Mknod(path, unix.S_IFCHR, int(unix.Mkdev(1, 3)))
		case '0':
			_ = unix.Mknod(path, unix.S_IFCHR, 0)
		case 'l':
			_ = os.Link(filepath.Join(dir, "a"), path)
		case 'x':
			_ = unix.Setxattr(dir, "user.x", []byte{byte(n)}, 0)
		default:
			_ = os.WriteFile(path, bytes.Repeat([]byte{step}, n), 0o644)
		}
	}
}
