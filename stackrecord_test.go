//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestStackRecords(t *testing.T) {
	h := storeOf(t)
	write(t, string(h), files{"diff/a/": "", "diff/b/": "", "whiteouts/a/": "", "whiteouts/b/root/": ""})
	r := (&aufsBackend{home: h}).records()
	parents := []string{"a", "b"}
	stamp, err := h.stackStamp(parents)
	must(t, err)
	if _, ok := r.known(parents, stamp); ok {
		t.Error("known, without a record")
	}
	const want = "hs"
	keep := func() {
		generation, err := h.use(parents)
		must(t, err)
		r.keep(parents, stamp, generation, want)
	}
	keep()
	if letters, ok := r.known(parents, stamp); !ok || letters != want {
		t.Errorf("%q, %t", letters, ok)
	}
	if _, ok := r.known(parents, "x"+stamp); ok {
		t.Error("known, with another stamp")
	}
	// What shows through the uppermost one is all there is to mount.
	if _, ok := r.known([]string{"a"}, stamp); ok {
		t.Error("known, of a stack with fewer layers")
	}
	record := filepath.Join(string(h), whiteoutsDir, "a", stackRecord)
	whole, err := os.ReadFile(record)
	must(t, err)
	for n := range whole {
		must(t, os.WriteFile(record, whole[:n], 0o600))
		if _, ok := r.known(parents, stamp); ok {
			t.Errorf("known by %q", whole[:n])
		}
	}
	must(t, os.WriteFile(record, append(slices.Clone(whole[:len(whole)-2]), 'x', '\n'), 0o600))
	if _, ok := r.known(parents, stamp); ok {
		t.Error("known, by a letter that says nothing")
	}
	must(t, os.WriteFile(record, whole, 0o600))
	must(t, os.Remove(filepath.Join(string(h), whiteoutsDir, "b", "root")))
	if _, ok := r.known(parents, stamp); ok {
		t.Error("known, with a whiteout branch that is gone")
	}
	// Somebody is about to change one, on a kernel whose clock does not show it.
	write(t, string(h), files{"whiteouts/b/root/": ""})
	if _, ok := r.known(parents, stamp); !ok {
		t.Error("it is not known any more")
	}
	must(t, h.forgetDerived("b"))
	if _, ok := r.known(parents, stamp); ok {
		t.Error("known, of a layer that changes")
	}
	// The directories have other times by now.
	stamp, err = h.stackStamp(parents)
	must(t, err)
	keep()
	if _, ok := r.known(parents, stamp); !ok {
		t.Error("it is not known again")
	}
	must(t, h.forgetDerived("other"))
	if _, ok := r.known(parents, stamp); !ok {
		t.Error("a layer that is in no record counts")
	}
	// Whatever happens to a directory shows.
	write(t, h.diff("b"), files{".wh..wh.aufs": ""})
	if again, err := h.stackStamp(parents); err != nil || again == stamp {
		t.Errorf("%q, %v", again, err)
	}
	for name, content := range map[string]string{"gone": "", "file": "x"} {
		if content != "" {
			write(t, h.diff(""), files{name: content})
		}
		if _, err := h.stackStamp([]string{"a", name}); err == nil || !strings.Contains(err.Error(), h.diff(name)) {
			t.Errorf("%s: %v", name, err)
		}
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
	run, err := h.newRun("top", mountOptions{})
	must(t, err)
	hidden := func() []string {
		st := stack{id: "top", target: h.mnt("top")}
		must(t, s.inner.fill(&st, []string{"middle", "base"}))
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
