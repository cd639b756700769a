package main

import (
	"reflect"
	"slices"
	"testing"
)

func TestSplitLayers(t *testing.T) {
	const big = 1 << 20
	linked := func(p string) entry { return with(file(p, big), func(e *entry) { e.Link = "a" }) }
	tests := []struct {
		name  string
		input tree
		n     int
		want  [][]string
	}{
		{"by size", treeOf(file("a", big), file("b", big), file("c", big), file("d", big)), 2, [][]string{{"a", "b"}, {"c", "d"}}},
		{"one big file", treeOf(file("a", 1), file("b", 9*big), file("c", 1)), 3, [][]string{{"a", "b"}, nil, {"c"}}},
		{"linked files stay together", treeOf(linked("a"), file("b", big), file("c", big), linked("d")), 2, [][]string{{"a", "b", "d"}, {"c"}}},
		{"empty files", treeOf(file("a", 0), file("b", 0)), 2, [][]string{{"a"}, {"b"}}},
		{"nothing", treeOf(), 2, [][]string{nil, nil}},
		{"fewer files than layers", treeOf(file("a", 1)), 3, [][]string{{"a"}, nil, nil}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := splitLayers(test.input, test.n); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestWithParents(t *testing.T) {
	got := withParents([]string{"a/b/f", "a/b/g", "a", "c/d"})
	want := []string{"a", "a/b", "a/b/f", "a/b/g", "c", "c/d"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// An archive is unpacked in order, so a member must come after everything that it needs.
func TestBuildLayersNamesDirectoriesAndLinksFirst(t *testing.T) {
	linked := func(p string) entry { return with(file(p, 9), func(e *entry) { e.Link = "x/a" }) }
	input := treeOf(linked("x/a"), linked("y/b"), file("z/c", 9), file("z/d/e", 9))
	source := func(p string) string { return "/in/" + p }
	for n := 2; n <= 5; n++ {
		layers := buildLayers(input, source, n, abilities{Device: true, UserXattr: true, Capability: true})
		if len(layers) != n {
			t.Fatalf("got %d layers, want %d", len(layers), n)
		}
		known := map[string]bool{} // Directories of this layer and those below.
		for i, items := range layers {
			checkOrder(t, i, items, known)
		}
	}
}

// checkOrder checks one layer, and adds its directories to known.
func checkOrder(t *testing.T, layer int, items []layerItem, known map[string]bool) {
	t.Helper()
	var here []string
	for _, item := range items {
		if item.LinkRef != "" && !slices.Contains(here, item.LinkRef) {
			t.Errorf("layer %d: %s comes before %s, which it links to", layer, item.Path, item.LinkRef)
		}
		if above := ancestors(item.Path); len(above) > 0 && !known[above[0]] {
			t.Errorf("layer %d: %s comes before its directory", layer, item.Path)
		}
		if item.Kind == kindDir {
			known[item.Path] = true
		}
		if slices.Contains(here, item.Path) {
			t.Errorf("layer %d: %s is there twice", layer, item.Path)
		}
		here = append(here, item.Path)
	}
}

func TestTheTopLayerDeletesAFileOfTheLowest(t *testing.T) {
	input := treeOf(file("a/f", 1), file("b", 1))
	layers := buildLayers(input, func(p string) string { return p }, 2, abilities{})
	last := layers[1][len(layers[1])-1]
	if last.Path != "a/.wh.f" {
		t.Errorf("the last member is %s, want the whiteout a/.wh.f", last.Path)
	}
}
