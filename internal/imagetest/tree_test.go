//go:build linux

package imagetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/listing"
)

// A tree is the listing of a directory tree. Times are whole seconds, because
// archives have no others.
type tree []listing.Entry

// readTree lists the tree at root.
func readTree(t *testing.T, root string) tree {
	t.Helper()
	entries, err := listing.Read(root)
	must(t, err)
	for i := range entries {
		entries[i].Mtime = time.Unix(0, entries[i].Mtime).Unix()
	}
	// A container's layer has its own root directory, which is as old as the container.
	entries[0].Mtime = 0
	return entries
}

// since returns the tree with the time start for everything that changed at
// that time or later: the same change comes later in one tree than in another.
func (tr tree) since(start time.Time) tree {
	return tr.each(func(e *listing.Entry) {
		if e.Mtime >= start.Unix() {
			e.Mtime = start.Unix()
		}
	})
}

// withoutDirTimes returns the tree without the times of its directories.
func (tr tree) withoutDirTimes() tree {
	return tr.each(func(e *listing.Entry) {
		if e.Type == 'd' {
			e.Mtime = 0
		}
	})
}

// without returns the tree without everything below the directory dir.
func (tr tree) without(dir string) tree {
	return slices.DeleteFunc(slices.Clone(tr), func(e listing.Entry) bool { return strings.HasPrefix(e.Path, dir+"/") })
}

// withoutRootMode returns the tree without the mode of its root directory.
func (tr tree) withoutRootMode() tree {
	return tr.each(func(e *listing.Entry) {
		if e.Path == "." {
			e.Mode = 0
		}
	})
}

// each returns a copy of the tree, with edit applied to each entry.
func (tr tree) each(edit func(*listing.Entry)) tree {
	result := slices.Clone(tr)
	for i := range result {
		edit(&result[i])
	}
	return result
}

// sameTree fails the test for each file that differs.
func sameTree(t *testing.T, what string, got, want tree) {
	t.Helper()
	differences := got.differences(want)
	const enough = 20
	for i, difference := range differences {
		if i == enough {
			t.Errorf("%s: and %d differences more", what, len(differences)-enough)
			return
		}
		t.Errorf("%s: %s", what, difference)
	}
}

// differences describes how the tree differs from want.
func (tr tree) differences(want tree) []string {
	var found []string
	wanted := map[string]listing.Entry{}
	for _, e := range want {
		wanted[e.Path] = e
	}
	for _, e := range tr {
		w, ok := wanted[e.Path]
		delete(wanted, e.Path)
		switch {
		case !ok:
			found = append(found, fmt.Sprintf("%q is too many", e.Path))
		case e != w:
			found = append(found, fmt.Sprintf("%q differs:\n got  %+v\n want %+v", e.Path, e, w))
		}
	}
	for _, e := range want {
		if _, left := wanted[e.Path]; left {
			found = append(found, fmt.Sprintf("%q is missing", e.Path))
		}
	}
	return found
}
