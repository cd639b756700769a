package main

import (
	"reflect"
	"testing"
)

// treeOf returns a tree of the entries and the directories above them.
func treeOf(entries ...entry) tree {
	t := tree{".": {Path: ".", Kind: kindDir, Mode: 0o755}}
	for _, e := range entries {
		for _, dir := range ancestors(e.Path) {
			if _, ok := t[dir]; !ok {
				t[dir] = entry{Path: dir, Kind: kindDir, Mode: 0o755}
			}
		}
		t[e.Path] = e
	}
	return t
}

// file returns a regular file with the mode 0644.
func file(p string, size int64) entry {
	return entry{Path: p, Kind: kindFile, Mode: 0o644, Size: size}
}

// with returns a copy of e with one change.
func with(e entry, change func(*entry)) entry {
	change(&e)
	return e
}

func TestCompareTrees(t *testing.T) {
	base := with(file("a/f", 3), func(e *entry) { e.Xattrs = map[string]string{"user.k": "v"} })
	tests := []struct {
		name string
		b    tree
		want []string // The fields that differ, in order.
	}{
		{"equal", treeOf(base), nil},
		{"missing", treeOf(entry{Path: "a", Kind: kindDir, Mode: 0o755}), []string{"existence"}},
		{"more", treeOf(base, file("a/g", 0)), []string{"existence"}},
		{"type", treeOf(with(base, func(e *entry) { e.Kind = kindFifo })), []string{"type"}},
		{"mode", treeOf(with(base, func(e *entry) { e.Mode = 0o4644 })), []string{"mode"}},
		{"user", treeOf(with(base, func(e *entry) { e.UID = 1 })), []string{"owner"}},
		{"group", treeOf(with(base, func(e *entry) { e.GID = 1 })), []string{"owner"}},
		{"size", treeOf(with(base, func(e *entry) { e.Size = 4 })), []string{"size"}},
		{"mtime", treeOf(with(base, func(e *entry) { e.Mtime = 4 })), []string{"mtime"}},
		{"target", treeOf(with(base, func(e *entry) { e.Target = "x" })), []string{"target"}},
		{"device", treeOf(with(base, func(e *entry) { e.Rdev = 1 })), []string{"device"}},
		{"contents", treeOf(with(base, func(e *entry) { e.Sum[0] = 1 })), []string{"sha256"}},
		{"no xattr", treeOf(with(base, func(e *entry) { e.Xattrs = nil })), []string{"xattrs"}},
		{"link", treeOf(with(base, func(e *entry) { e.Link = "a/e" })), []string{"hard-link group"}},
		{"two things", treeOf(with(base, func(e *entry) { e.Mode, e.Size = 0, 0 })), []string{"mode", "size"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, d := range compareTrees(treeOf(base), test.b, nil) {
				got = append(got, d.What)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			for p := range test.b {
				old := treeOf(base)[p]
				differs := len(compareEntries(old, test.b[p])) > 0
				if old.Path != "" && sameEntry(old, test.b[p]) == differs {
					t.Errorf("sameEntry and compareEntries do not agree on %s", p)
				}
			}
		})
	}
}

func TestCompareTreesIgnores(t *testing.T) {
	a, b := treeOf(file("x", 1), file("y", 1)), treeOf(file("x", 2), file("z", 1))
	if diffs := compareTrees(a, b, map[string]bool{"x": true, "y": true, "z": true}); len(diffs) != 0 {
		t.Errorf("got %v, want none", diffs)
	}
}

func TestPathsAreInTheOrderOfAWalk(t *testing.T) {
	got := treeOf(file("a-b", 0), file("a/z", 0), file("a.c", 0)).paths()
	want := []string{".", "a", "a/z", "a-b", "a.c"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBytesCountsALinkedFileOnce(t *testing.T) {
	linked := func(p string) entry { return with(file(p, 10), func(e *entry) { e.Link = "a" }) }
	if got := treeOf(linked("a"), linked("b"), file("c", 5)).bytes(); got != 15 {
		t.Errorf("got %d, want 15", got)
	}
}
