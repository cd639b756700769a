//go:build linux

package drivertest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

func TestCheckID(t *testing.T) {
	for _, id := range []string{"", ".", "..", "a/b", "/", "a\x00b", "a\nb", "a\r"} {
		if store.CheckID(id) == nil {
			t.Errorf("%q passes", id)
		}
	}
	for _, id := range []string{"a", "...", ".wh.a", "a,b", "x-removing", strings.Repeat("f", 64)} {
		if err := store.CheckID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"a,b", "a:b", "a=b", "x-removing", ""} {
		if store.CheckNewID(id) == nil {
			t.Errorf("%q passes for a new layer", id)
		}
	}
}

func TestParents(t *testing.T) {
	for _, c := range []struct {
		name, content string
		want          []string
	}{
		{"none", "", nil},
		{"one", "p\n", []string{"p"}},
		{"nearest first", "p\nq\nr\n", []string{"p", "q", "r"}},
		{"no line feed at the end", "p\nq", []string{"p", "q"}},
		{"empty lines", "\np\n\nq\n\n", []string{"p", "q"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := store.ParseParents("id", []byte(c.content))
			if err != nil || !slices.Equal(got, c.want) {
				t.Fatalf("got %q, %v, want %q", got, err, c.want)
			}
			again, err := store.ParseParents("id", store.FormatParents(got))
			if err != nil || !slices.Equal(again, got) {
				t.Errorf("formatParents and back: %q, %v", again, err)
			}
		})
	}
	for name, content := range map[string]string{
		"its own parent": "p\nid\n", "twice the same": "p\nq\np\n", "a path": "../p\n", "dots": "..\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := store.ParseParents("id", []byte(content)); err == nil {
				t.Errorf("got %q and no error", got)
			}
		})
	}
}

func TestParentsOfNoLayer(t *testing.T) {
	h := store.Home(t.TempDir())
	_, err := h.Parents("nobody")
	wants(t, err, store.ErrLayerUnknown, "nobody")
}

// TestDamagedParents damages layers/<id> as a crash or a person can. Nobody can mount or read such a layer, or make a layer on top of it,
// but Remove works.
func TestDamagedParents(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, content := range map[string]string{
			"names itself": "top\nmiddle\nbase\n", "names a missing layer": "gone\nmiddle\nbase\n", "cut short": "middle\n",
			"cut within a line": "middle\nba", "not in order": "base\nmiddle\n", "one too many": "middle\nbase\nother\n", "a path": "../middle\n",
		} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "middle", "top")
				s.create(t, "", "other")
				must(t, os.WriteFile(s.inner.Home.Layers("top"), []byte(content), 0o644))
				_, err := s.Get("top", driver.GetOptions{})
				wants(t, err, store.ErrDamaged, "top")
				noMounts(t, s.inner.Home.Mnt(""))
				wants(t, s.Create("new", "top", nil), store.ErrDamaged, "new", "top")
				_, err = s.Diff("top", nil, "middle", nil)
				wants(t, err, store.ErrDamaged, "top")
				must(t, s.Remove("top"))
				sameNames(t, s.see(t, "middle").Names())
			})
		}
		t.Run("that of an ancestor is empty", func(t *testing.T) {
			s := newStore(t, name)
			s.create(t, "", "base", "middle", "top")
			must(t, os.WriteFile(s.inner.Home.Layers("middle"), nil, 0o644))
			_, err := s.Get("top", driver.GetOptions{})
			wants(t, err, store.ErrDamaged, "top", "middle")
		})
		t.Run("while it is mounted", func(t *testing.T) {
			s := newStore(t, name)
			s.create(t, "", "base", "top")
			s.get(t, "top")
			must(t, os.WriteFile(s.inner.Home.Layers("top"), []byte("gone\n"), 0o644))
			must(t, s.Put("top"))
			noMounts(t, s.inner.Home.Mnt(""))
		})
	})
}

func TestWriteFileAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, content := range []string{"one", "", "another one"} {
		must(t, fsutil.WriteFileAtomic(dir, path, []byte(content)))
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
	}
	// A file cannot replace a directory, and the attempt must leave nothing.
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o700))
	if err := fsutil.WriteFileAtomic(dir, path, []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	sameNames(t, readTree(t, dir).Names(), "file")
}
