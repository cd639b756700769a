//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestForgetDerived is about what is kept of a layer that may have been changed, on a kernel whose clock does not show it.
func TestForgetDerived(t *testing.T) {
	h := storeOf(t)
	write(t, string(h), files{"diff/plain/d/f": "", "diff/deleting/d/.wh.f": ""})
	ids := []string{"plain", "deleting"}
	find := func(id, generation string) string {
		t.Helper()
		dir, err := h.twinFind(id, overlayTrusted, generation)
		must(t, err)
		return dir
	}
	use := func() string {
		t.Helper()
		generation, err := h.use(ids)
		must(t, err)
		return generation
	}
	known := func(want bool) {
		t.Helper()
		for _, id := range ids {
			if _, ok := h.twinKnown(id, overlayTrusted); ok != want {
				t.Errorf("%s is known: %t", id, ok)
			}
		}
	}
	// Nothing was derived from it: its directory stays as it is.
	before, err := rootStamp(h.diff("plain"))
	must(t, err)
	must(t, h.forgetDerived("plain"))
	if after, err := rootStamp(h.diff("plain")); err != nil || after != before {
		t.Errorf("the stamp was %s, and is %s, %v", before, after, err)
	}
	keep := func() {
		t.Helper()
		generation := use()
		for _, id := range ids {
			find(id, generation)
		}
		known(true)
	}
	keep()
	for _, id := range ids {
		must(t, h.forgetDerived(id))
	}
	known(false)
	// Another one is about to change a layer while things are derived: they can be used, and are not kept.
	generation := use()
	must(t, h.forgetDerived("plain"))
	if dir := find("plain", generation); dir != h.diff("plain") {
		t.Errorf("of a layer without whiteouts there is %s", dir)
	}
	sameNames(t, readTree(t, find("deleting", generation)).names(), "d", "d/f")
	known(false)
	keep()
	// One who was about to was killed.
	for _, id := range ids {
		must(t, os.Rename(h.overlay(usedDir, id), h.overlay(forgottenDir, id)))
		must(t, h.forgetDerived(id))
	}
	known(false)
	keep()
	// The directory is gone.
	must(t, os.Remove(h.overlay(forgottenDir)))
	for _, id := range ids {
		must(t, h.forgetDerived(id))
	}
	known(false)
	// No generation was to be had: others have ended it.
	use()
	must(t, os.Remove(h.overlay(generationLink)))
	for _, id := range ids {
		find(id, "")
	}
	known(false)
}

// TestDerivedFromMore is about a whiteout branch, which is made from the layers below it as well: one of them is written to, by its path,
// while the branch is made, or right after it.
func TestDerivedFromMore(t *testing.T) {
	h := storeOf(t)
	write(t, string(h), files{"diff/below/d/old": "", "diff/top/d/.wh..wh..opq": ""})
	b := &aufsBackend{home: h}
	s := stack{id: "container", parents: []string{"top", "below"}, parentDirs: []string{h.diff("top"), h.diff("below")}}
	derive := func(generation string) {
		t.Helper()
		_, _, err := b.findSplits(s, t.TempDir(), generation)
		must(t, err)
	}
	use := func() string {
		t.Helper()
		generation, err := h.use(s.parents)
		must(t, err)
		return generation
	}
	hides := func(names ...string) {
		t.Helper()
		derive(use())
		sameNames(t, readTree(t, h.whiteouts().path("top", derivedRoot, "d")).names(), names...)
	}
	hides(".wh.old")
	for round, meanwhile := range []func(){
		func() {},
		func() { derive(use()) },
		func() {
			generation := use()
			must(t, h.forgetAll("below"))
			derive(generation)
		},
		func() {
			use()
			must(t, os.Remove(h.overlay(generationLink)))
			must(t, h.forgetAll("below"))
			derive("")
		},
	} {
		// As Get of a layer without parents, those who write to it, and Put.
		must(t, h.forgetAll("below"))
		meanwhile()
		must(t, os.Rename(filepath.Join(h.diff("below"), "d/old"), filepath.Join(h.diff("below"), "d/new")))
		must(t, h.forgetAll("below"))
		hides(".wh.new")
		must(t, os.Rename(filepath.Join(h.diff("below"), "d/new"), filepath.Join(h.diff("below"), "d/old")))
		must(t, h.forgetAll("below"))
		hides(".wh.old")
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

// TestRenewTime is about a file system whose clock goes in steps of some milliseconds, as that of most kernels does.
func TestRenewTime(t *testing.T) {
	dir := t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("to mount something takes root")
	}
	must(t, unix.Mount("ramfs", dir, "ramfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	for range 50 {
		before, err := rootStamp(dir)
		must(t, err)
		must(t, renewTime(dir, true))
		if after, err := rootStamp(dir); err != nil || after == before {
			t.Fatalf("it is %s still, %v", after, err)
		}
	}
}

// TestReadOnlyMountKeepsTwins is about a layer that is mounted, and cannot be changed by that.
func TestReadOnlyMountKeepsTwins(t *testing.T) {
	s := newStore(t, backendOverlay)
	s.create(t, "", "base", "deleting", "top")
	s.apply(t, "base", "", entry{name: "f"})
	s.apply(t, "deleting", "base", entry{name: ".wh.f"})
	sameNames(t, s.see(t, "top").names())
	h := s.inner.home
	stamp := h.twins().path("deleting", derivedStamp)
	before, err := os.Lstat(stamp)
	must(t, err)
	s.see(t, "deleting", "ro")
	sameNames(t, s.see(t, "top").names())
	if after, err := os.Lstat(stamp); err != nil || !os.SameFile(before, after) {
		t.Errorf("the twin was made again, %v", err)
	}
}
