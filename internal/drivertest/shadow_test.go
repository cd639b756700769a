//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// inodeOf returns the inode number of path, or 0 if there is no such file.
func inodeOf(path string) uint64 {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return fsutil.StatOf(info).Ino
}

// leak copies all mounts into another mount namespace, which lives until end is called.
func leak(t *testing.T) (end func()) {
	t.Helper()
	// The script unmounts the mounts of other test programs, which run side by side with this one. They would live on there as well.
	const onlyOwn = `while read -r _ _ _ _ target _; do case "$target" in "$0"*) ;; "$1"/*) umount -l "$target" ;; esac; done </proc/self/mountinfo
		exec sleep 1000`
	test, _, _ := strings.Cut(t.Name(), "/")
	c := exec.Command("unshare", "-m", "sh", "-c", onlyOwn, filepath.Join(os.TempDir(), test), os.TempDir())
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, c.Start())
	ours, err := os.Readlink("/proc/self/ns/mnt")
	must(t, err)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", c.Process.Pid))
		name, cerr := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.Process.Pid))
		if err == nil && cerr == nil && theirs != ours && strings.TrimSpace(string(name)) == "sleep" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no mount namespace: %v, %v", err, cerr)
		}
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
	t.Cleanup(end)
	return end
}

// getsFreed mounts a layer whose mount in another namespace has ended. A process that a parallel test starts by leak keeps that mount for a moment,
// until it has unmounted what is not its own.
func getsFreed(t *testing.T, s testStore, id string, options driver.GetOptions) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		dir, err := s.Get(id, options)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			must(t, err)
			return dir
		}
	}
}

// A shownStack is a stack of layers, and what a mount of the stack shows with an empty layer on top.
type shownStack struct {
	name string
	// layers are in aufs form, the lowest first.
	layers []files
	want   []string
}

var shownStacks = []shownStack{
	{"no marks", []files{{"a": "0", "d/x": "0"}, {"a": "1", "d/y": "1"}}, []string{"a", "d", "d/x", "d/y"}},
	{"deletions", []files{{"a": "0", "b": "0", "d/x": "0", "d/y": "0", "e/x": "0"}, {".wh.a": "", "d/.wh.x": "", ".wh.e": ""}}, []string{"b", "d", "d/y"}},
	{"deletions of nothing", []files{{"b": "0"}, {".wh.a": "", "own/.wh.x": "", "own/f": "1", "bare/.wh.x": ""}}, []string{"b", "own", "own/f", "bare"}},
	{"deleted and made again", []files{{"a": "0"}, {".wh.a": ""}, {"a": "2"}, {".wh.a": ""}, {"b": "4"}}, []string{"b"}},
	{"a directory deleted and made again", []files{{"d/x": "0"}, {".wh.d": ""}, {"d/y": "2"}}, []string{"d", "d/y"}},
	{"an opaque directory", []files{{"d/x": "0", "d/e/x": "0"}, {"d/.wh..wh..opq": "", "d/e/y": "1"}}, []string{"d", "d/e", "d/e/y"}},
	{"an empty opaque directory", []files{{"d/x": "0"}, {"d/.wh..wh..opq": ""}, {"e": "2"}}, []string{"d", "e"}},
	{
		"opaque in several layers",
		[]files{
			{"d/base": "0", "d/sub/base": "0", "e/base": "0", "e/.wh..wh..opq": "", "f/base": "0", "gone": "0"},
			{"d/.wh..wh..opq": "", "d/once": "1", "d/sub/once": "1", "f/.wh.base": "", ".wh.gone": ""},
			{"d/between": "2", "e/between": "2", "f/between": "2"},
			{"d/.wh..wh..opq": "", "d/sub/twice": "3", "e/.wh..wh..opq": ""},
		},
		[]string{"d", "d/sub", "d/sub/twice", "e", "f", "f/between"},
	},
	{
		"opaque in each other",
		[]files{{"d/e/x": "0", "d/y": "0"}, {"d/.wh..wh..opq": "", "d/e/.wh..wh..opq": "", "d/e/f": "1"}, {"d/e/.wh..wh..opq": "", "d/e/g": "2"}},
		[]string{"d", "d/e", "d/e/g"},
	},
	{"a directory in the place of a file", []files{{"f/old": "0"}, {"f": "1"}, {"f/.wh..wh..opq": "", "f/new": "2"}}, []string{"f", "f/new"}},
	{"a file in the place of a directory", []files{{"d/x": "0"}, {"d": "1"}, {"e": "2"}}, []string{"d", "e"}},
	{"an opaque root", []files{{"a": "0", "d/x": "0"}, {".wh..wh..opq": "", "d/y": "1"}, {"d/z": "2"}}, []string{"d", "d/y", "d/z"}},
	{
		"names of aufs",
		[]files{{"a": "0"}, {".wh..wh.aufs": "", ".wh..wh.orph/": "", ".wh..wh.plnk/1.2": "1", "d/.wh..wh.x.0001/f": "1", ".wh.a": "", "f": "1"}},
		[]string{"d", "f"},
	},
	{
		"deep inside",
		[]files{{"p/q/r/s/x": "0", "p/q/r/s/y": "0", "p/q/t/u": "0"}, {"p/q/r/s/.wh.x": "", "p/q/t/.wh..wh..opq": "", "p/q/t/v": "1"}},
		[]string{"p", "p/q", "p/q/r", "p/q/r/s", "p/q/r/s/y", "p/q/t", "p/q/t/v"},
	},
	{
		"whiteouts below opaque",
		[]files{{"d/x": "0", "d/y": "0"}, {"d/.wh.x": "", "e/z": "1"}, {"d/.wh..wh..opq": "", "d/.wh.q": "", "d/x": "2"}, {"d/.wh.x": "", "d/w": "3"}},
		[]string{"d", "d/w", "e", "e/z"},
	},
}

// besideStacks have files that only a layer in aufs form can have.
var besideStacks = []shownStack{
	{
		"files beside their whiteouts",
		[]files{{"f": "0", "d/g": "0", "o/hidden": "0", "kept": "0"}, {"f": "x", ".wh.f": "", "d/g": "x", "d/.wh.g": "", "own/h": "x", "own/.wh.h": "", "o/.wh..wh..opq": ""}},
		[]string{"d", "o", "own", "kept"},
	},
	{
		"a directory beside its whiteout", []files{{"d/x": "0", "kept": "0"}, {"d/y": "1", ".wh.d": "", "e": "1"}}, []string{"e", "kept"},
	},
	{
		"names that begin as whiteouts do", []files{{"a": "0"}, {".wh.d/f": "1", "e/.wh..wh.a.0001/f": "1", ".wh.a": "content"}}, []string{"e"},
	},
}

// TestShadows mounts layers in each form on each backend. The mounts must show the same, before and after writes on top of the layers.
// The layers must stay as they are, if the backend can show them so.
func TestShadows(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, f := range []whiteout.Form{whiteout.AufsForm, whiteout.OverlayTrusted, whiteout.OverlayUser} {
			if f == whiteout.OverlayUser && !hasUserXattrs(t) {
				continue
			}
			stacks := shownStacks
			if f == whiteout.AufsForm {
				stacks = append(slices.Clone(stacks), besideStacks...)
			}
			for _, stack := range stacks {
				t.Run(string(f)+"/"+stack.name, func(t *testing.T) { stack.isShown(t, name, f) })
			}
		}
	})
}

func (c shownStack) isShown(t *testing.T, name backend.Name, f whiteout.Form) {
	t.Helper()
	s := newStore(t, name)
	h, parent, diffs := s.inner.Home, "", map[string]tree{}
	for n, content := range c.layers {
		id := fmt.Sprint("layer", n)
		s.create(t, parent, id)
		write(t, h.Diff(id), content)
		if f != whiteout.AufsForm && n > 0 {
			must(t, s.inner.Forms.ToOverlay(id, f, func() bool { return false }))
		}
		parent = id
		diffs[id] = allOf(t, h.Diff(id))
	}
	s.create(t, parent, "top", "upper")
	s.create(t, parent, "other")
	for _, options := range [][]string{{"ro"}, nil} {
		for _, id := range []string{"top", "upper"} {
			sameNames(t, s.see(t, id, options...).Names(), c.want...)
		}
	}
	sameNames(t, s.see(t, parent, "ro").Names(), c.want...)
	c.isWritten(t, s)
	if other := string(f) + ".overlay."; f != s.written() {
		// Files that are copied up have no marks of the other form.
		for path, node := range readTree(t, h.Diff("other")) {
			if strings.Contains(node, other) {
				t.Errorf("%s was copied up with the attributes of a layer below: %s", path, node)
			}
		}
	}
	c.isDeleted(t, s)
	// A layer with the attributes of the other kind of overlay mount is converted to aufs form, because each mount would show these
	// attributes.
	for id, want := range diffs {
		if f != whiteout.OverlayUser || name != backend.Overlay {
			sameTree(t, allOf(t, h.Diff(id)), want)
		}
	}
	noLeftovers(t, s)
	// The layer shows the same when it is mounted writable itself.
	s.change(t, parent, func(dir string) { write(t, dir, files{"last": "last"}) })
	if f == whiteout.AufsForm && slices.ContainsFunc(besideStacks, func(b shownStack) bool { return b.name == c.name }) {
		return
	}
	sameNames(t, s.see(t, parent, "ro").Names(), append([]string{"last"}, c.want...)...)
	s.oneForm(t, parent)
}

// isWritten changes, in the layer other, everything that the stack shows.
func (c shownStack) isWritten(t *testing.T, s testStore) {
	t.Helper()
	want := slices.Clone(c.want)
	s.change(t, "other", func(dir string) {
		for _, path := range c.want {
			full := filepath.Join(dir, path)
			info, err := os.Lstat(full)
			must(t, err)
			if info.IsDir() {
				write(t, full, files{"added": "added"})
				want = append(want, filepath.Join(path, "added"))
				continue
			}
			content, err := os.ReadFile(full)
			must(t, err)
			must(t, os.WriteFile(full, append(content, " changed"...), 0o600))
		}
		sameNames(t, readTree(t, dir).Names(), want...)
	})
	for _, options := range [][]string{{"ro"}, nil} {
		dir := s.get(t, "other", options...)
		sameNames(t, readTree(t, dir).Names(), want...)
		for _, path := range c.want {
			content, err := os.ReadFile(filepath.Join(dir, path))
			if err == nil && !strings.HasSuffix(string(content), " changed") {
				t.Errorf("%s is %q", path, content)
			}
		}
		must(t, s.Put("other"))
	}
}

// isDeleted deletes, in the layer top, everything that the stack shows, and makes directories in its place.
func (c shownStack) isDeleted(t *testing.T, s testStore) {
	t.Helper()
	var roots, gone []string
	for _, path := range c.want {
		if !strings.Contains(path, "/") {
			roots, gone = append(roots, path), append(gone, "D /"+path)
		}
	}
	s.change(t, "top", func(dir string) {
		for _, name := range roots {
			must(t, os.RemoveAll(filepath.Join(dir, name)))
		}
		sameNames(t, readTree(t, dir).Names())
	})
	sameNames(t, s.see(t, "top").Names())
	sameNames(t, s.see(t, "upper", "ro").Names())
	sameNames(t, s.changes(t, "top", s.parentOf(t, "top")), gone...)
	s.change(t, "top", func(dir string) {
		for _, name := range roots {
			write(t, dir, files{name + "/again": ""})
		}
	})
	var again []string
	for _, name := range roots {
		again = append(again, name, name+"/again")
	}
	for _, options := range [][]string{{"ro"}, nil} {
		sameNames(t, s.see(t, "top", options...).Names(), again...)
		sameNames(t, s.see(t, "upper", options...).Names(), again...)
	}
}

// parentOf returns the parent of the layer id.
func (s testStore) parentOf(t *testing.T, id string) string {
	t.Helper()
	parents, err := s.inner.Home.Parents(id)
	must(t, err)
	return parents[0]
}

// TestShadowsOfArchives unpacks layers with marks of all kinds. When ApplyDiff returns, the cache must know how to mount the layer.
func TestShadowsOfArchives(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, c := range shownStacks {
			t.Run(c.name, func(t *testing.T) {
				s := newStore(t, name)
				parent := ""
				var ids []string
				for n, content := range c.layers {
					id := fmt.Sprint("layer", n)
					s.create(t, parent, id)
					var entries []entry
					for _, path := range sorted(slices.Collect(maps.Keys(content))) {
						entries = append(entries, entry{Name: path, Content: content[path]})
					}
					s.apply(t, id, parent, entries...)
					parent, ids = id, append([]string{id}, ids...)
				}
				s.create(t, parent, "top")
				for n := range ids {
					if !isCached(s.inner.Shadows, t, ids[n:]) {
						t.Errorf("%s is not known", ids[n])
					}
				}
				// The driver does not make a directory that the archive only implies by whiteouts in it.
				want := slices.DeleteFunc(slices.Clone(c.want), func(name string) bool { return name == "bare" || c.name == "names of aufs" && name == "d" })
				made := treeOf(t, s)
				sameNames(t, s.see(t, "top", "ro").Names(), want...)
				for path := range treeOf(t, s) {
					if _, was := made[path]; !was && strings.HasPrefix(path, "overlay/shadow") {
						t.Errorf("%s was made by the mount", path)
					}
				}
				sameNames(t, s.see(t, "top").Names(), want...)
			})
		}
	})
}

// TestMountedLayerAsParent mounts a stack on top of a layer that is mounted itself.
func TestMountedLayerAsParent(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"a": "", "b": "", "d/x": "", "d/y": ""})
		s.create(t, "base", "middle")
		dir := s.get(t, "middle")
		must(t, os.Remove(filepath.Join(dir, "a")))
		must(t, os.RemoveAll(filepath.Join(dir, "d")))
		write(t, dir, files{"d/z": ""})
		s.create(t, "middle", "top")
		want := []string{"b", "d", "d/z"}
		sameNames(t, readTree(t, s.get(t, "top")).Names(), want...)
		sameNames(t, s.changes(t, "top", "middle"))
		must(t, s.Put("middle"))
		sameNames(t, readTree(t, s.inner.Home.Mnt("top")).Names(), want...)
		must(t, s.Put("top"))
		sameNames(t, s.see(t, "top").Names(), want...)
		s.hasForm(t, "middle", s.written())
		s.hasForm(t, "top", s.written())
	})
}

// TestDeepStack mounts, in each form, as many layers as a driver must be able to mount, with a whiteout in each.
func TestDeepStack(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, f := range []whiteout.Form{whiteout.AufsForm, whiteout.OverlayTrusted} {
			t.Run(string(f), func(t *testing.T) {
				const depth = 127
				s := newStore(t, name)
				parent := ""
				for i := range depth {
					id := fmt.Sprintf("layer%03d", i)
					s.create(t, parent, id)
					dir := s.inner.Home.Diff(id)
					write(t, dir, files{fmt.Sprintf("f%03d", i): "x"})
					gone := fmt.Sprintf("f%03d", i-1)
					switch {
					case i == 0:
					case f == whiteout.AufsForm:
						write(t, dir, files{".wh." + gone: ""})
					default:
						device(t, filepath.Join(dir, gone))
						setRecord(t, s.inner.Home, id, string(f))
					}
					parent = id
				}
				s.create(t, parent, "top")
				sameNames(t, s.see(t, "top").Names(), fmt.Sprintf("f%03d", depth-1))
				sameNames(t, s.see(t, "top", "ro").Names(), fmt.Sprintf("f%03d", depth-1))
			})
		}
	})
}

// TestTooManyShadows mounts a stack that is too long for overlayfs only because of its shadows. The error must say how many layers and how
// many directories there are, and how many directories overlayfs takes.
func TestTooManyShadows(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		top := s.longStack(t, 301)
		for n := range 300 {
			write(t, s.inner.Home.Diff(fmt.Sprintf("%064d", n)), files{".wh.gone": ""})
		}
		_, err := s.Get(top, mountOpts())
		wants(t, err, unix.EINVAL, top, "300 read-only layers", "601 directories", "500")
		noMounts(t, s.inner.Home.Mnt(""))
	})
}

// TestBackendsShareLayers has one backend write layers, and the other backend mount them and write on top of them.
func TestBackendsShareLayers(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		for _, first := range []backend.Name{backend.Overlay, backend.Aufs} {
			t.Run(string(first)+" below", func(t *testing.T) {
				second := backend.Aufs
				if first == backend.Aufs {
					second = backend.Overlay
				}
				s := changed(t, first)
				s.create(t, "child", "second")
				s.change(t, "second", func(dir string) {
					must(t, os.RemoveAll(filepath.Join(dir, "replaced")))
					write(t, dir, files{"replaced/again": "x", "modified": "newest"})
					must(t, os.RemoveAll(filepath.Join(dir, "becomesdir")))
				})
				s.create(t, "second", "third", "fourth")
				want := s.see(t, "third", "ro")
				must(t, s.Cleanup())
				before := map[string]tree{}
				for _, id := range []string{"base", "child", "second"} {
					before[id] = allOf(t, s.inner.Home.Diff(id))
				}
				s = openStore(t, string(s.inner.Home), second)
				for _, options := range [][]string{{"ro"}, nil} {
					sameTree(t, bare(s.see(t, "third", options...)), want)
				}
				sameTree(t, bare(s.see(t, "second", "ro")), want)
				s.change(t, "third", func(dir string) {
					must(t, os.RemoveAll(filepath.Join(dir, "replaced")))
					must(t, os.WriteFile(filepath.Join(dir, "dir/kept"), []byte("copied up"), 0o600))
					write(t, dir, files{"becomesdir": "a file"})
					must(t, os.Remove(filepath.Join(dir, "modified")))
				})
				for _, id := range []string{"third", "fourth"} {
					got := s.see(t, id)
					for _, gone := range []string{"replaced", "replaced/again", "replaced/new", "replaced/old", "modified", "becomesdir/f"} {
						if got[gone] != "" {
							t.Errorf("%s shows %s: %s", id, gone, got[gone])
						}
					}
					if !strings.HasPrefix(got["becomesdir"], "-") || got["dir/deleted"] != "" || got["dir/kept"] == "" {
						t.Errorf("%s shows %q", id, got)
					}
				}
				for id, want := range before {
					sameTree(t, allOf(t, s.inner.Home.Diff(id)), want)
				}
				s.hasForm(t, "third", s.written())
			})
		}
	})
}

// TestLeakedReadOnlyMount keeps a detached read-only mount alive by an open file. The mount must go on showing the same, whatever is
// mounted here.
func TestLeakedReadOnlyMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		t.Cleanup(wire.ExpectMessages("undefined behavior"))
		s := newStore(t, name)
		s.create(t, "", "base", "parent", "child")
		s.apply(t, "base", "", entry{Name: "a"}, entry{Name: "b"}, entry{Name: "d/x"})
		s.apply(t, "parent", "base", entry{Name: ".wh.a"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/y"})
		dir := s.get(t, "child", "ro")
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Unmount(dir, unix.MNT_DETACH))
		must(t, s.Put("child"))
		elsewhere := fmt.Sprintf("/proc/self/fd/%d/", fd)
		want := []string{"b", "d", "d/y"}
		sameNames(t, readTree(t, elsewhere).Names(), want...)
		for _, options := range [][]string{{"ro"}, nil} {
			sameNames(t, s.see(t, "child", options...).Names(), want...)
		}
		openStore(t, string(s.inner.Home), name)
		must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("2\n"), 0))
		sameNames(t, readTree(t, elsewhere).Names(), want...)
		must(t, unix.Close(fd))
		idleSoon(t, s, "child")
		sameNames(t, s.see(t, "child").Names(), want...)
	})
}

// TestReadOnlyStoreMakesShadowsElsewhere mounts layers of a store that nobody can write to, with an empty cache.
func TestReadOnlyStoreMakesShadowsElsewhere(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		h := s.inner.Home
		s.create(t, "", "base", "middle", "opaque", "top")
		s.apply(t, "base", "", entry{Name: "gone"}, entry{Name: "kept"}, entry{Name: "d/x"})
		s.apply(t, "middle", "base", entry{Name: ".wh.gone"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/y"})
		s.apply(t, "opaque", "middle", entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/z"})
		must(t, s.Cleanup())
		must(t, os.RemoveAll(h.Overlay(store.KnownDir)))
		must(t, os.RemoveAll(h.Overlay(store.ShadowDir)))
		home := readOnlyCopy(t, s)
		before := allOf(t, home)
		r, err := reopen(home, name)
		must(t, err)
		for range 2 {
			sameNames(t, r.see(t, "top", "ro").Names(), "kept", "d", "d/z")
			sameNames(t, r.see(t, "opaque", "ro").Names(), "kept", "d", "d/z")
			sameNames(t, r.see(t, "middle", "ro").Names(), "kept", "d", "d/y")
		}
		made, err := os.ReadDir(r.inner.Shadows.Elsewhere)
		must(t, err)
		var names []string
		for _, entry := range made {
			names = append(names, entry.Name())
		}
		sameNames(t, names, "middle", "opaque")
		must(t, r.Cleanup())
		sameTree(t, allOf(t, home), before)
	})
}

// TestShadowsOfNamesBeforeTheDot has whiteouts in directories whose names sort before "." in the order of bytes.
func TestShadowsOfNamesBeforeTheDot(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "top")
		s.apply(t, "base", "", entry{Name: "-d/x"}, entry{Name: "#o/x"}, entry{Name: "a/x"})
		s.apply(t, "middle", "base", entry{Name: "-d/"}, entry{Name: "-d/.wh.x"}, entry{Name: "#o/"}, entry{Name: "#o/.wh..wh..opq"})
		sameNames(t, s.see(t, "top").Names(), "-d", "#o", "a", "a/x")
	})
}

// TestRootOfAReadOnlyMount changes the root directory of a layer between two read-only mounts. The second mount must show the change.
func TestRootOfAReadOnlyMount(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "layer")
		s.apply(t, "base", "", entry{Name: "f"})
		root := func(set func(dir string)) string {
			s.change(t, "layer", set)
			return s.see(t, "layer", "ro")["."]
		}
		// The list lets in a user whom the mode keeps out.
		list := []byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x07\x00\xe8\x03\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff")
		before := root(func(dir string) { must(t, os.Chmod(dir, 0o750)) })
		with := root(func(dir string) { must(t, unix.Lsetxattr(dir, "trusted.test", []byte("v"), 0)) })
		if with == before {
			t.Errorf("with an attribute: %s", with)
		}
		root(func(dir string) {
			must(t, unix.Lremovexattr(dir, "trusted.test"))
			must(t, unix.Lsetxattr(dir, "system.posix_acl_access", list, 0))
		})
		after := root(func(dir string) {
			must(t, unix.Lremovexattr(dir, "system.posix_acl_access"))
			must(t, os.Chmod(dir, 0o750))
		})
		if after != before {
			t.Errorf("got  %s\nwant %s", after, before)
		}
	})
}
