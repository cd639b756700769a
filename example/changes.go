package main

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containers/storage/pkg/archive"
)

// expectedChanges returns the changes that a driver must report for a container
// that turned the tree before into the tree after. Each path occurs once. A
// removed directory occurs without its content.
func expectedChanges(before, after tree) map[string]archive.ChangeType {
	want := map[string]archive.ChangeType{}
	for p, e := range after {
		old, was := before[p]
		switch {
		case !was:
			want[p] = archive.ChangeAdd
		case !sameEntry(old, e):
			want[p] = archive.ChangeModify
		}
	}
	for p := range before {
		// If the directory above is gone too, or is now something else, its own
		// change says everything.
		if _, still := after[p]; !still && after[path.Dir(p)].Kind == kindDir {
			want[p] = archive.ChangeDelete
		}
	}
	return want
}

// compareChanges returns where the changes that a driver reported differ from
// those that were made. The driver may report the paths in either, or not.
func compareChanges(reported []archive.Change, before, after tree, either map[string]bool) []string {
	want := expectedChanges(before, after)
	got := map[string]archive.ChangeType{}
	var wrong []string
	for _, c := range expandReplaced(reported, before, after) {
		p := strings.TrimPrefix(c.Path, "/")
		got[p] = c.Kind
		if _, expected := want[p]; !expected && !either[p] && !harmless(p, c.Kind, want, before, after) {
			wrong = append(wrong, fmt.Sprintf("%s: reported as %s, but nothing was done to it", p, c.Kind))
		}
	}
	for p, kind := range want {
		switch reportedKind, ok := got[p]; {
		case either[p]:
		case !ok:
			wrong = append(wrong, fmt.Sprintf("%s: not reported, is %s", p, kind))
		case reportedKind != kind:
			wrong = append(wrong, fmt.Sprintf("%s: reported as %s, is %s", p, reportedKind, kind))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// expandReplaced unifies how drivers report a directory that replaced something
// else. Some report the path as deleted and all its new children as added.
// expandReplaced rewrites that into what other drivers report: deleted for files
// that are gone, modified for files that stayed.
func expandReplaced(reported []archive.Change, before, after tree) []archive.Change {
	replaced := replacedDirs(reported, before, after)
	if len(replaced) == 0 {
		return reported
	}
	var out []archive.Change
	for _, c := range reported {
		p := strings.TrimPrefix(c.Path, "/")
		inside := slices.ContainsFunc(replaced, func(dir string) bool { return under(p, dir) })
		if _, was := before[p]; inside && was {
			if _, is := after[p]; is {
				c.Kind = archive.ChangeModify
			}
		}
		out = append(out, c)
	}
	for p, kind := range expectedChanges(before, after) {
		inside := slices.ContainsFunc(replaced, func(dir string) bool { return p != dir && under(p, dir) })
		if inside && kind == archive.ChangeDelete {
			out = append(out, archive.Change{Path: "/" + p, Kind: kind})
		}
	}
	return out
}

// replacedDirs returns the paths that were reported as deleted and are now directories.
func replacedDirs(reported []archive.Change, before, after tree) []string {
	var dirs []string
	for _, c := range reported {
		p := strings.TrimPrefix(c.Path, "/")
		if _, was := before[p]; was && c.Kind == archive.ChangeDelete && after[p].Kind == kindDir {
			dirs = append(dirs, p)
		}
	}
	return dirs
}

// harmless reports whether a driver may report p as modified although it is not:
// p is a directory above a change, or another name of a changed file. A union
// file system has to copy these up, and then can no longer tell the difference.
func harmless(p string, kind archive.ChangeType, want map[string]archive.ChangeType, before, after tree) bool {
	e, is := after[p]
	if kind != archive.ChangeModify || !is {
		return false
	}
	for changed := range want {
		if e.Kind == kindDir && under(changed, p) {
			return true
		}
		if e.Link != "" && after[changed].Link == e.Link {
			return true
		}
		if old := before[p].Link; old != "" && before[changed].Link == old {
			return true
		}
	}
	return false
}
