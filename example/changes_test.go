package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/containers/storage/pkg/archive"
)

// changeList parses changes like "A /new" and "D /old".
func changeList(lines ...string) []archive.Change {
	kinds := map[string]archive.ChangeType{"A": archive.ChangeAdd, "C": archive.ChangeModify, "D": archive.ChangeDelete}
	var changes []archive.Change
	for _, line := range lines {
		kind, p, _ := strings.Cut(line, " ")
		changes = append(changes, archive.Change{Path: p, Kind: kinds[kind]})
	}
	return changes
}

func TestExpectedChanges(t *testing.T) {
	before := treeOf(file("same", 1), file("changed", 1), file("gone", 1), file("dir/a", 1), file("dir/b", 1), file("turned/x", 1))
	after := treeOf(file("same", 1), file("changed", 2), file("new/f", 1), with(file("turned", 0), func(*entry) {}))
	want := map[string]archive.ChangeType{
		"changed": archive.ChangeModify, "gone": archive.ChangeDelete, "dir": archive.ChangeDelete,
		"new": archive.ChangeAdd, "new/f": archive.ChangeAdd, "turned": archive.ChangeModify,
	}
	if got := expectedChanges(before, after); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCompareChanges(t *testing.T) {
	linked := func(p string) entry { return with(file(p, 1), func(e *entry) { e.Link = "r/l1" }) }
	before := treeOf(file("d/f", 1), file("d/g", 1), file("other/f", 1), file("r/old", 1), file("r/both", 1), linked("r/l1"), linked("r/l2"))
	after := treeOf(file("d/f", 2), file("other/f", 1), file("r/both", 2), file("r/new", 1), linked("r/l1"), linked("r/l2"), file("d/h", 1))
	tests := []struct {
		name     string
		reported []archive.Change
		wrong    int
	}{
		{"as made", changeList("C /d/f", "D /d/g", "A /d/h", "D /r/old", "C /r/both", "A /r/new"), 0},
		{"directories above", changeList("C /d", "C /d/f", "D /d/g", "A /d/h", "C /r", "D /r/old", "C /r/both", "A /r/new"), 0},
		{"replaced, as overlayfs has it", changeList("C /d/f", "D /d/g", "A /d/h", "D /r", "A /r/both", "A /r/new"), 0},
		{"one missing", changeList("C /d/f", "D /d/g", "A /d/h", "D /r/old", "C /r/both"), 1},
		{"wrong kind", changeList("A /d/f", "D /d/g", "A /d/h", "D /r/old", "C /r/both", "A /r/new"), 1},
		{"untouched directory", changeList("C /other", "C /d/f", "D /d/g", "A /d/h", "D /r/old", "C /r/both", "A /r/new"), 1},
		{"untouched file", changeList("C /other/f", "C /d/f", "D /d/g", "A /d/h", "D /r/old", "C /r/both", "A /r/new"), 1},
		{"a whiteout by its own name", changeList("D /r/.wh..opq", "C /d/f", "D /d/g", "A /d/h", "D /r/old", "C /r/both", "A /r/new"), 1},
		{"nothing at all", nil, 6},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if wrong := compareChanges(test.reported, before, after, nil); len(wrong) != test.wrong {
				t.Errorf("got %q, want %d complaints", wrong, test.wrong)
			}
		})
	}
}

func TestOtherNamesOfAChangedFileMayBeReported(t *testing.T) {
	linked := func(p string, size int64) entry {
		return with(file(p, size), func(e *entry) { e.Link = "a" })
	}
	before, after := treeOf(linked("a", 1), linked("b", 1)), treeOf(file("a", 2), file("b", 1))
	if wrong := compareChanges(changeList("C /a", "C /b"), before, after, nil); len(wrong) != 0 {
		t.Errorf("got %q, want none", wrong)
	}
}
