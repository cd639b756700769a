//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// kinds returns changes as "A /path", "C /path", "D /path".
func kinds(changes []layerdiff.Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.String())
	}
	return out
}

func (s testStore) changes(t *testing.T, id, parent string) []string {
	t.Helper()
	changes, err := s.Changes(id, nil, parent, nil)
	must(t, err)
	if !slices.IsSortedFunc(changes, func(a, b layerdiff.Change) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	}) {
		t.Errorf("not sorted: %v", changes)
	}
	return kinds(changes)
}

func TestChanges(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := changed(t, name)
		sameNames(t, s.changes(t, "child", "base"),
			"A /added", "C /becomesdir", "A /becomesdir/f", "C /becomesfile", "D /deleted", "C /dir", "D /dir/deleted", "D /gone",
			"C /modified", "A /newdir", "A /newdir/f", "C /replaced", "A /replaced/new", "D /replaced/old", "D /replaced/sub")
		sameNames(t, s.changes(t, "base", "")[:2], "A /becomesdir", "A /becomesfile")
	})
}

// TestChangesAgreeWithTheNaiveWay compares Changes, over several parents, with the changes that the library finds between two mounts.
func TestChangesAgreeWithTheNaiveWay(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := changed(t, name)
		s.create(t, "child", "again", "top")
		s.change(t, "again", func(dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "dir")))
			write(t, dir, files{"dir/sub/x": "x", "deleted": "back", "gone/c": "c", "tree/a/b/c": "", "tree/a/d": "", "tree/e": ""})
		})
		s.change(t, "top", func(dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "replaced")))
			must(t, os.RemoveAll(filepath.Join(dir, "dir")))
			write(t, dir, files{"dir/": ""})
			must(t, os.RemoveAll(filepath.Join(dir, "tree")))
			write(t, dir, files{"tree/a/b/new": "", "tree/a/d/e": ""})
			must(t, os.Remove(filepath.Join(dir, "deleted")))
			must(t, os.Chmod(filepath.Join(dir, "dir"), 0o700))
			must(t, os.Rename(filepath.Join(dir, "added"), filepath.Join(dir, "newdir", "moved")))
			write(t, dir, files{"replaced/sub/y": "y", "gone/c": "changed", "kept": "kept no more"})
		})
		for _, pair := range [][2]string{{"child", "base"}, {"again", "child"}, {"top", "again"}} {
			got := s.changes(t, pair[0], pair[1])
			sameNames(t, got, s.mountedChanges(t, pair[0], pair[1])...)
		}
	})
}

// TestChangesOfDirectories shows which differences make a directory a change.
func TestChangesOfDirectories(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		base := s.inner.Home.Diff("base")
		write(t, base, files{"same/": "", "mode/": "", "owner/": "", "time/": "", "deep/er/": ""})
		s.create(t, "base", "child")
		child := s.inner.Home.Diff("child")
		write(t, child, files{"same/": "", "mode/": "", "owner/": "", "time/": "", "deep/er/f": ""})
		stamp := time.Unix(1700000000, 0)
		for _, root := range []string{base, child} {
			for _, dir := range []string{"same", "mode", "owner", "time", "deep/er", "deep"} {
				must(t, os.Chtimes(filepath.Join(root, dir), stamp, stamp))
			}
		}
		must(t, os.Chmod(filepath.Join(child, "mode"), 0o700))
		must(t, os.Lchown(filepath.Join(child, "owner"), 1000, 0))
		must(t, os.Chtimes(filepath.Join(child, "time"), stamp, stamp.Add(time.Minute)))
		sameNames(t, s.changes(t, "child", "base"), "C /mode", "C /owner", "C /time", "C /deep", "C /deep/er", "A /deep/er/f")

		// Owners are compared as the containers see them.
		maps := []idmap.Map{{ContainerID: 0, HostID: 1000, Size: 10}}
		mappings := idmapsOf(maps, maps)
		must(t, os.Lchown(filepath.Join(child, "owner"), 1000, 1000))
		changes, err := s.Changes("child", mappings, "base", nil)
		must(t, err)
		if got := kinds(changes); slices.Contains(got, "C /owner") || slices.Contains(got, "C /same") {
			t.Errorf("with a mapping: %v", got)
		}
	})
}

// TestChangesHideAndSeek compares a layer whose ancestors have whiteouts and opaque directories.
func TestChangesHideAndSeek(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "l0", "l1", "l2", "top")
		write(t, s.inner.Home.Diff("l0"), files{"a": "", "b": "", "d/x": "", "d/y": "", "e/f/g": "", "file/was/dir": ""})
		write(t, s.inner.Home.Diff("l1"), files{".wh.a": "", "d/.wh..wh..opq": "", "d/z": "", "e/.wh.f": "", "file": ""})
		write(t, s.inner.Home.Diff("l2"), files{"c": "", "d/y": ""})
		write(t, s.inner.Home.Diff("top"), files{
			"a": "", ".wh.b": "", ".wh.nothing": "", "d/x": "", "d/y": "", "d/z": "", "e/f/g": "", "file/was/dir": "",
		})
		sameNames(t, s.changes(t, "top", "l2"),
			"A /a", "D /b", "C /d", "A /d/x", "C /d/y", "C /d/z", "C /e", "A /e/f", "A /e/f/g", "C /file", "A /file/was", "A /file/was/dir")
		write(t, s.inner.Home.Diff("top"), files{"d/.wh..wh..opq": "", "d/new": ""})
		must(t, os.Remove(filepath.Join(s.inner.Home.Diff("top"), "d/y")))
		got := s.changes(t, "top", "l2")
		for _, want := range []string{"D /d/y", "C /d/z", "A /d/new", "A /d/x"} {
			if !slices.Contains(got, want) {
				t.Errorf("%v lacks %s", got, want)
			}
		}
	})
}

// TestChangesWithoutMounts shows that Changes against the parent mounts nothing: it works even where nothing can be mounted.
func TestChangesWithoutMounts(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := changed(t, name)
		must(t, os.Remove(s.inner.Home.Mnt("child")))
		must(t, os.WriteFile(s.inner.Home.Mnt("child"), nil, 0o600))
		if got := s.changes(t, "child", "base"); len(got) == 0 {
			t.Error("no changes")
		}
		if got := s.diff(t, "child", "base"); len(got) == 0 {
			t.Error("an empty archive")
		}
		_, err := s.DiffSize("child", nil, "base", nil)
		must(t, err)
		must(t, os.Remove(s.inner.Home.Mnt("child")))
	})
}

// BenchmarkChanges shows that the time does not grow with the number of parents that have none of the changed files.
func BenchmarkChanges(b *testing.B) {
	for _, parents := range []int{2, 100} {
		b.Run(fmt.Sprintf("%dparents", parents), func(b *testing.B) {
			c := layerdiff.Comparison{Mappings: &idmap.Mappings{}, ParentMappings: &idmap.Mappings{}}
			root := b.TempDir()
			var below []whiteout.LayerDir
			for i := range parents {
				dir := filepath.Join(root, fmt.Sprint(i))
				for j := range 10 {
					if err := os.MkdirAll(filepath.Join(dir, "dir", fmt.Sprint(j)), 0o755); err != nil {
						b.Fatal(err)
					}
				}
				below = append(below, whiteout.LayerDir{Root: dir, Form: whiteout.AufsForm})
			}
			c.Layer = whiteout.LayerDir{Root: filepath.Join(root, "top"), Form: whiteout.AufsForm}
			for i := range 1000 {
				dir := filepath.Join(c.Layer.Root, "dir", fmt.Sprint(i%10))
				if err := os.MkdirAll(dir, 0o755); err != nil {
					b.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				c.Changes = nil
				if _, err := c.Directory(".", below, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// mountedChanges returns the changes that the library finds between mounts of both layers.
func (s testStore) mountedChanges(t *testing.T, id, parent string) []string {
	t.Helper()
	dir, before := s.get(t, id, "ro"), s.get(t, parent, "ro")
	changes, err := archive.ChangesDirs(dir, &idtools.IDMappings{}, before, &idtools.IDMappings{})
	must(t, errors.Join(err, s.Put(parent), s.Put(id)))
	var names []string
	for _, change := range changes {
		names = append(names, change.String())
	}
	return names
}
