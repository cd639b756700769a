//go:build linux

package differential

import (
	"fmt"
	"path"
	"strings"

	"github.com/seed-642172e2/aufs/internal/listing"
)

// A snapshot is a tree by path.
type snapshot map[string]listing.Entry

func snapshotOf(entries []listing.Entry) snapshot {
	s := snapshot{}
	for _, e := range entries {
		s[e.Path] = e
	}
	return s
}

// expectedChanges compares two trees as a graph driver's Changes must. It
// returns all new paths, all deleted paths whose directory is still there, all
// paths whose file differs, and all directories above a change. A change of a
// file's other names is not a change of the file.
func expectedChanges(before, after snapshot) map[string]Kind {
	changes := map[string]Kind{}
	note := func(p string, kind Kind) {
		changes[p] = kind
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if _, ok := changes[dir]; ok {
				continue
			}
			changes[dir] = Modified
			if _, ok := before[dir]; !ok {
				changes[dir] = Added
			}
		}
	}
	for p, now := range after {
		was, ok := before[p]
		was.Link, now.Link = "", ""
		switch {
		case p == ".":
		case !ok:
			note(p, Added)
		case was != now:
			note(p, Modified)
		}
	}
	for p := range before {
		_, stays := after[p]
		if !stays && after[path.Dir(p)].Type == 'd' {
			note(p, Deleted)
		}
	}
	return changes
}

// compareChanges returns how the changes of a driver differ from the expected
// ones. If allowed reports true for a file, the driver may call it modified
// although it does not differ: a driver cannot know that a file that was
// written to is as before.
func compareChanges(got []Change, want map[string]Kind, allowed func(string) bool) error {
	var faults []string
	seen := map[string]bool{}
	for _, change := range got {
		p := strings.TrimPrefix(change.Path, "/")
		kind, expected := want[p]
		switch {
		case seen[p]:
			faults = append(faults, fmt.Sprintf("%q twice", p))
		case expected && kind != change.Kind:
			faults = append(faults, fmt.Sprintf("%q %v instead of %v", p, change.Kind, kind))
		case !expected && (change.Kind != Modified || !allowed(p)):
			faults = append(faults, fmt.Sprintf("%q %v, which nothing touched", p, change.Kind))
		}
		seen[p] = true
	}
	for p, kind := range want {
		if !seen[p] {
			faults = append(faults, fmt.Sprintf("no %q %v", p, kind))
		}
	}
	return faultsError(faults)
}

// compareTrees returns how a tree differs from the model.
func compareTrees(got, model []listing.Entry) error {
	var faults []string
	want := snapshotOf(model)
	for _, e := range got {
		w, ok := want[e.Path]
		switch {
		case !ok:
			faults = append(faults, fmt.Sprintf("%q is too many: %+v", e.Path, e))
		case e != w:
			faults = append(faults, fmt.Sprintf("%q is\n    %+v\n  the model has\n    %+v", e.Path, e, w))
		}
		delete(want, e.Path)
	}
	for p := range want {
		faults = append(faults, fmt.Sprintf("%q is missing", p))
	}
	return faultsError(faults)
}

// mostFaults is how many faults an error lists at most.
const mostFaults = 8

func faultsError(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	if more := len(faults) - mostFaults; more > 0 {
		faults = append(faults[:mostFaults:mostFaults], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("differs:\n  %s", strings.Join(faults, "\n  "))
}
