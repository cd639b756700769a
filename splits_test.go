//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestKnownSplits(t *testing.T) {
	h := storeOf(t)
	write(t, string(h), files{"diff/a/": "", "diff/b/": "", "whiteouts/a/": "", "whiteouts/b/root/": ""})
	parents, dirs := []string{"a", "b"}, []string{h.diff("a"), h.diff("b")}
	stamp, err := stackStamp(dirs)
	must(t, err)
	if splits, ok := h.knownSplits(nil, stamp); !ok || len(splits) != 0 {
		t.Errorf("of no parents: %q, %t", splits, ok)
	}
	if _, ok := h.knownSplits(parents, stamp); ok {
		t.Error("known, without a record")
	}
	want := []split{splitHidesNothing, splitInTwo}
	h.keepSplits(parents, stamp, want)
	if splits, ok := h.knownSplits(parents, stamp); !ok || !slices.Equal(splits, want) {
		t.Errorf("%q, %t", splits, ok)
	}
	if _, ok := h.knownSplits(parents, "x"+stamp); ok {
		t.Error("known, with another stamp")
	}
	if _, ok := h.knownSplits([]string{"a", "b", "c"}, stamp); ok {
		t.Error("known, of another stack")
	}
	record := filepath.Join(string(h), whiteoutsDir, "a", stackRecord)
	whole, err := os.ReadFile(record)
	must(t, err)
	for n := range whole {
		must(t, os.WriteFile(record, whole[:n], 0o600))
		if _, ok := h.knownSplits(parents, stamp); ok {
			t.Errorf("known by %q", whole[:n])
		}
	}
	must(t, os.WriteFile(record, append(slices.Clone(whole[:len(whole)-1]), 'x'), 0o600))
	if _, ok := h.knownSplits(parents, stamp); ok {
		t.Error("known, by a letter that says nothing")
	}
	must(t, os.WriteFile(record, whole, 0o600))
	must(t, os.Remove(filepath.Join(string(h), whiteoutsDir, "b", "root")))
	if _, ok := h.knownSplits(parents, stamp); ok {
		t.Error("known, with a whiteout branch that is gone")
	}
	// Whatever happens to a directory shows.
	write(t, h.diff("b"), files{".wh..wh.aufs": ""})
	if again, err := stackStamp(dirs); err != nil || again == stamp {
		t.Errorf("%q, %v", again, err)
	}
}

// TestBaseGotTwice writes to a layer without parents that two have got, after one of them has put it.
func TestBaseGotTwice(t *testing.T) {
	s := newStore(t, backendOverlay)
	s.create(t, "", "base", "middle", "top")
	s.apply(t, "base", "", entry{name: "d/"}, entry{name: "d/old"})
	h := s.inner.home
	write(t, h.diff("middle"), files{"d/.wh..wh..opq": "", "d/new": ""})
	b := &aufsBackend{home: h, forms: s.inner.forms}
	st := stack{id: "top", target: h.mnt("top"), parents: []string{"middle", "base"}, parentDirs: []string{h.diff("middle"), h.diff("base")}}
	run, err := h.newRun("top", st.options)
	must(t, err)
	hidden := func() []string {
		_, err := b.branchesOf(st, run)
		must(t, err)
		return readTree(t, h.whiteouts().path("middle", derivedRoot, "d")).names()
	}
	dir := s.get(t, "base")
	s.get(t, "base")
	must(t, s.Put("base"))
	sameNames(t, hidden(), ".wh.old")
	write(t, dir, files{"d/late": ""})
	must(t, s.Put("base"))
	sameNames(t, hidden(), ".wh.late", ".wh.old")
}
