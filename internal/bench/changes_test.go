//go:build linux

package bench

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/containers/storage/pkg/archive"
)

// changed is a layer that changes the contents of files of the lowest layer.
type changed struct{ parents, files, depth int }

// BenchmarkChanges finds the changes of a layer: files of its lowest ancestor, which a search
// reaches last.
func BenchmarkChanges(b *testing.B) {
	cases := bySize([]changed{
		{1, 1000, 4},
		{10, 1000, 4},
		{100, 1000, 4},
		{10, 10, 4},
		{127, 10, 4},
		{10, 10000, 4},
		{10, 1000, 16},
	}, []changed{
		{1, 1000, 4},
		{10, 1000, 4},
		{100, 1000, 4},
		{10, 10, 4},
		{127, 10, 4},
		{10, 10, 16},
	}, []changed{{1, 10, 4}, {3, 10, 16}})
	for _, c := range cases {
		b.Run(fmt.Sprintf("parents=%d/files=%d/depth=%d", c.parents, c.files, c.depth), func(b *testing.B) {
			// A driver that copies would have to make and compare all files of all layers.
			forEach(b, layered, func(b *testing.B, d driver) { c.measure(b, d, cases) })
		})
	}
}

func (c changed) measure(b *testing.B, d driver, all []changed) {
	b.Helper()
	s := d.fixture(b, fmt.Sprintf("changes-%d", c.depth), func(s store) { fillForChanges(b, s, c.depth, all) })
	var changes []archive.Change
	for b.Loop() {
		var err error
		changes, err = s.Changes(c.id(), nil, stackID(c.parents-1), nil, "")
		must(b, err)
	}
	modified := 0
	for _, change := range changes {
		if change.Kind == archive.ChangeModify && strings.HasPrefix(path.Base(change.Path), "file-") {
			modified++
		}
	}
	if modified != c.files {
		b.Fatalf("there are %d modified files, and should be %d", modified, c.files)
	}
	peak(b, func() {
		_, err := s.Changes(c.id(), nil, stackID(c.parents-1), nil, "")
		must(b, err)
	})
}

func (c changed) id() string { return idOf("%+v", c) }

// fillForChanges makes a stack, and on top of it the layers whose files have the given depth.
func fillForChanges(b *testing.B, s store, depth int, all []changed) {
	b.Helper()
	var mine []changed
	for _, c := range all {
		if c.depth == depth {
			mine = append(mine, c)
		}
	}
	parents := slices.MaxFunc(mine, func(a, b changed) int { return a.parents - b.parents }).parents
	files := slices.MaxFunc(mine, func(a, b changed) int { return a.files - b.files }).files
	s.makeStack(b, parents, tree{files: files, size: 10, depth: depth})
	for _, c := range mine {
		s.makeLayer(b, c.id(), stackID(c.parents-1), tree{files: c.files, size: 20, depth: depth})
	}
}
