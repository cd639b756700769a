package main

import (
	"fmt"
	"slices"
	"testing"
)

// manyFiles returns a tree of n files in directories of ten.
func manyFiles(n int) tree {
	var entries []entry
	for i := range n {
		entries = append(entries, file(fmt.Sprintf("d%03d/f%d", i/10, i%10), 1))
	}
	return treeOf(entries...)
}

func TestInputEditsTouchEachPathOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 40, 1000} {
		t.Run(fmt.Sprint(n, " files"), func(t *testing.T) {
			edits := inputEdits(manyFiles(n))
			if len(edits) > 61 {
				t.Errorf("%d edits, want at most 61", len(edits))
			}
			for i, e := range edits {
				for _, other := range edits[i+1:] {
					if under(other.Path, e.Path) || under(e.Path, other.Path) {
						t.Errorf("%s and %s overlap", e.Path, other.Path)
					}
				}
			}
		})
	}
}

func TestInputEditsKeepOffSpecialFiles(t *testing.T) {
	image := treeOf(
		with(file("linked", 1), func(e *entry) { e.Link = "linked" }),
		with(file("capable", 1), func(e *entry) { e.Xattrs = map[string]string{"security.capability": ""} }),
		with(file("device", 1), func(e *entry) { e.Kind = kindChar }),
		file(fixtureDir+"/f", 1),
	)
	if edits := inputEdits(image); len(edits) != 0 {
		t.Errorf("got %v, want none", edits)
	}
}

func TestDirToRemoveLeavesMostOfTheInput(t *testing.T) {
	tests := []struct {
		name  string
		image tree
		want  string
	}{
		{"all in one directory", treeOf(file("a/f", 1), file("a/g", 1)), ""},
		{"the first that is small", manyFiles(100), "d000"},
		{"nothing", treeOf(), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := dirToRemove(test.image); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Without this test, an edit of a file that no layer has would fail only on a host that can mount.
func TestFixtureEditsFindTheirFiles(t *testing.T) {
	can := abilities{UserXattr: true, Capability: true, Device: true, DirOverFile: true}
	var have []string
	for i := range 4 {
		for _, item := range fixtures(i, 4, can) {
			have = append(have, item.Path)
		}
	}
	makes := []op{opOverwrite, opMkdir, opSymlink, opFifo}
	for _, e := range fixtureEdits(can) {
		if !slices.Contains(have, e.Path) && !slices.Contains(makes, e.Op) {
			t.Errorf("%s %s: no such file", e.Op, e.Path)
		}
		have = append(have, e.Path, e.To)
	}
}
