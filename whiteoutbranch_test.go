//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// TestTwiceOpaque is about directories that several layers of a stack replace: what the uppermost has in them is shown.
func TestTwiceOpaque(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		s.create(t, "", "base", "once", "between", "twice", "top")
		h := s.inner.home
		write(t, h.diff("base"), files{"d/base": "", "d/sub/base": "", "e/base": "", "e/.wh..wh..opq": "", "f/base": "", "gone": ""})
		write(t, h.diff("once"), files{"d/.wh..wh..opq": "", "d/once": "", "d/sub/once": "", "f/.wh.base": "", ".wh.gone": ""})
		write(t, h.diff("between"), files{"d/between": "", "e/between": "", "f/between": ""})
		write(t, h.diff("twice"), files{"d/.wh..wh..opq": "", "d/sub/twice": "", "e/.wh..wh..opq": ""})

		want := []string{"d", "d/sub", "d/sub/twice", "e", "f", "f/between"}
		for _, options := range [][]string{nil, {"ro"}} {
			sameNames(t, s.see(t, "top", options...).names(), want...)
			sameNames(t, s.see(t, "twice", options...).names(), want...)
		}
		sameNames(t, s.see(t, "between").names(), "d", "d/once", "d/between", "d/sub", "d/sub/once", "e", "e/base", "e/between", "f", "f/between")
		sameNames(t, s.see(t, "once").names(), "d", "d/once", "d/sub", "d/sub/once", "e", "e/base", "f")

		// A container that replaces one once more, and a kernel that has forgotten what it had in memory.
		dir := s.get(t, "top")
		must(t, os.RemoveAll(filepath.Join(dir, "d")))
		must(t, os.RemoveAll(filepath.Join(dir, "f")))
		write(t, dir, files{"d/sub/top": "", "f/": ""})
		want = []string{"d", "d/sub", "d/sub/top", "e", "f"}
		must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("2\n"), 0))
		sameNames(t, readTree(t, dir).names(), want...)
		must(t, s.Put("top"))
		sameNames(t, s.see(t, "top").names(), want...)
		sameNames(t, s.changes(t, "top", "twice"), "C /d", "C /d/sub", "D /d/sub/twice", "A /d/sub/top", "C /f", "D /f/between")
		if inodeOf(h.overlay(runDir, "top")) != 0 {
			t.Error("what existed for the mount alone is still there")
		}
	})
}

// TestWhiteoutBranchFollowsItsLayers is about layers that change after whiteouts were made for them.
func TestWhiteoutBranchFollowsItsLayers(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "top")
		s.apply(t, "base", "", entry{name: "d/a"}, entry{name: "d/b"})
		s.apply(t, "middle", "base", entry{name: "d/.wh..wh..opq"}, entry{name: "d/m"})
		sameNames(t, s.see(t, "top").names(), "d", "d/m")
		s.apply(t, "middle", "base", entry{name: ".wh.e"}, entry{name: "e/"}, entry{name: "d/n"})
		sameNames(t, s.see(t, "top").names(), "d", "d/m", "d/n", "e")
		// One below, deep inside.
		s.apply(t, "base", "", entry{name: "d/c"})
		sameNames(t, s.see(t, "top").names(), "d", "d/m", "d/n", "e")
		s.change(t, "middle", func(dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "d")))
			write(t, dir, files{"d/again": ""})
		})
		sameNames(t, s.see(t, "top").names(), "d", "d/again", "e")
		must(t, os.RemoveAll(s.inner.home.whiteouts().dir))
		sameNames(t, s.see(t, "top").names(), "d", "d/again", "e")
	})
}

func TestMakeWhiteoutBranch(t *testing.T) {
	root, lower, bottom := filepath.Join(t.TempDir(), "layer"), t.TempDir(), t.TempDir()
	write(t, bottom, files{"d/x": "", "d/y/z": "", "p/q/r": "", "p/s": "", "gone": "", "same/f": ""})
	write(t, lower, files{"d/.wh.x": "", "d/w": "", "p/q/t": ""})
	write(t, root, files{
		"d/.wh..wh..opq": "", "d/y/own": "", "d/y/.wh.z": "", "p/q/.wh..wh..opq": "", ".wh.gone": "", ".wh.nothing": "", "same/f": "", "own/.wh.x": "",
	})
	must(t, os.Chmod(filepath.Join(root, "p"), 0o711))
	target := filepath.Join(t.TempDir(), "whiteouts")
	must(t, makeWhiteoutBranch(root, []ancestor{{dir: lower}, {dir: bottom}}, target))
	sameNames(t, readTree(t, target).names(), "d", "d/.wh.w", "d/.wh.y", "p", "p/q", "p/q/.wh.r", "p/q/.wh.t", ".wh.gone")
	if info, err := os.Lstat(filepath.Join(target, "p")); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("p: %v, %v", info, err)
	}
	for dir, want := range map[string]bool{root: true, lower: false} {
		if got, beside, err := inspect(dir, "."); err != nil || got != want || beside != "" {
			t.Errorf("inspect(%s): %v, %q, %v", dir, got, beside, err)
		}
	}
}

// TestFileBesideItsWhiteout is about a name that a layer both has and deletes, as a crash can leave it: it is hidden, in a
// layer with opaque directories as well.
func TestFileBesideItsWhiteout(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		s.create(t, "", "base", "both", "top")
		write(t, s.inner.home.diff("base"), files{"f": "", "d/g": "", "o/hidden": ""})
		write(t, s.inner.home.diff("both"), files{"f": "x", ".wh.f": "", "d/g": "x", "d/.wh.g": "", "own/h": "", "own/.wh.h": "", "o/.wh..wh..opq": ""})
		if opaque, beside, err := inspect(s.inner.home.diff("both"), "."); err != nil || !opaque || beside == "" {
			t.Errorf("inspect: %v, %q, %v", opaque, beside, err)
		}
		// aufs calls it an I/O error.
		t.Cleanup(wire.ExpectMessages("both of real entry and whiteout found"))
		dir := s.get(t, "top")
		for _, path := range []string{"f", "d/g", "own/h", "o/hidden"} {
			if _, err := os.Lstat(filepath.Join(dir, path)); err == nil {
				t.Errorf("%s is shown", path)
			}
		}
		must(t, s.Put("top"))
	})
}
