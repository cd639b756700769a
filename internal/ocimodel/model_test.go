package ocimodel

import (
	"archive/tar"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestApply applies stacks of layers, and compares the names in the result. A stack with an archive without a meaning
// gives no names.
func TestApply(t *testing.T) {
	for text, want := range map[string]string{
		"foo/x foo/bar/baz stay | .wh.foo foo/.wh.x": "stay",
		"foo/x foo/bar/baz stay | foo/.wh.x .wh.foo": "stay",
		"foo/x foo/y | foo/.wh.x":                    "foo foo/y",
		"foo/ foo/x | foo/.wh.x foo/y":               "foo foo/y",
		"foo/x | .wh.foo foo/y":                      "foo foo/y",
		"foo/x | foo/y foo/.wh..wh..opq":             "foo foo/y",
		"foo/x | foo/y .wh..wh..opq":                 "foo foo/y",
		"foo | foo/.wh.x":                            "foo",
		"foo | foo/x":                                "foo foo/x",
		"foo/x | foo":                                "foo",
		"foo/x | foo foo/":                           "foo foo/x",
		"x | a/b/.wh.c":                              "x",
		"a/b/c/d | a/b/ .wh.a":                       "a a/b",
		"l->d | l/.wh.x":                             "l",
		"f | g=f":                                    "",
	} {
		root := NewTree()
		for _, entries := range Parse(text) {
			l, err := Read(entries)
			if err != nil {
				root = NewTree()
				break
			}
			l.Apply(root)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(root.All())), " "); got != want {
			t.Errorf("%s: %q, not %q", text, got, want)
		}
	}
}

func TestMetadata(t *testing.T) {
	for text, want := range map[string]Node{
		"d/ | d/f":                {Mode: 0o751, UID: 100, GID: 101, ModTime: 1_000_000},
		"d/ | d/":                 {Mode: 0o751, UID: 200, GID: 201, ModTime: 2_000_000},
		"d/ | d/f .wh.d":          {Mode: 0o755},
		"d/f | d/g":               {Mode: 0o755},
		"d | d/g":                 {Mode: 0o755},
		"d/ | x d/.wh..wh..opq":   {Mode: 0o751, UID: 100, GID: 101, ModTime: 1_000_000},
		"d/ | d/f d/":             {Mode: 0o751, UID: 201, GID: 202, ModTime: 2_010_000},
		"d/x/ | d/ d/x/.wh.y":     {Mode: 0o751, UID: 200, GID: 201, ModTime: 2_000_000},
		"d/ | .wh..wh..opq d/e/f": {Mode: 0o755},
	} {
		root := NewTree()
		for _, entries := range Parse(text) {
			l, err := Read(entries)
			if err != nil {
				t.Fatal(err)
			}
			l.Apply(root)
		}
		got := *root.Children["d"]
		if got.Type != tar.TypeDir || got.Mode != want.Mode || got.UID != want.UID || got.GID != want.GID || got.ModTime != want.ModTime {
			t.Errorf("%s: %+v, not %+v", text, got, want)
		}
	}
}
