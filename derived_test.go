//go:build linux

package aufs

import (
	"os"
	"testing"
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
	// As the version before this one has left it.
	must(t, os.RemoveAll(h.overlay(usedDir)))
	must(t, os.RemoveAll(h.overlay(forgottenDir)))
	must(t, h.forgetDerived("plain"))
	keep()
}
