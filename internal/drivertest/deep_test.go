//go:build linux

package drivertest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"golang.org/x/sys/unix"
)

// TestDeepTrees has a container make and delete files in directories that are too deep for any path.
func TestDeepTrees(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		write(t, s.inner.Home.Diff("base"), files{"gone": ""})
		base := deepDir(t, s.inner.Home.Diff("base"))
		put := func(root, rel, file, content string) {
			t.Helper()
			dir, err := fsutil.OpenDir(root, rel)
			must(t, err)
			defer dir.Close()
			must(t, os.WriteFile(fsutil.Within(dir, file), []byte(content), 0o644))
		}
		put(s.inner.Home.Diff("base"), base, "below", "below")
		put(s.inner.Home.Diff("base"), base, "hidden", "hidden")
		look := func(root string, want map[string]string) {
			t.Helper()
			dir, err := fsutil.OpenDir(root, base)
			must(t, err)
			defer dir.Close()
			for file, content := range want {
				got, err := os.ReadFile(fsutil.Within(dir, file))
				if content == "" && os.IsNotExist(err) {
					continue
				}
				if err != nil || string(got) != content {
					t.Errorf("%s in the deepest directory: %q, %v, not %q", file, got, err, content)
				}
			}
		}
		shown := map[string]string{"below": "changed", "hidden": "", "new": "new"}

		dir := s.get(t, "child")
		put(dir, base, "below", "changed")
		put(dir, base, "new", "new")
		deepest, err := fsutil.OpenDir(dir, base)
		must(t, err)
		must(t, os.Remove(fsutil.Within(deepest, "hidden")))
		must(t, deepest.Close())
		must(t, os.Remove(filepath.Join(dir, "gone")))
		look(dir, shown)
		must(t, s.Put("child"))
		look(s.get(t, "child"), shown)
		must(t, s.Put("child"))

		usage, err := s.ReadWriteDiskUsage("child")
		must(t, err)
		if want := int64(len("changed") + len("new")); usage.Size != want {
			t.Errorf("the size is %d, not %d", usage.Size, want)
		}
		changes, err := s.Changes("child", nil, "base", nil)
		must(t, err)
		for _, want := range []layerdiff.Change{
			{Path: "/gone", Kind: layerdiff.ChangeDelete},
			{Path: "/" + base + "/hidden", Kind: layerdiff.ChangeDelete},
			{Path: "/" + base + "/below", Kind: layerdiff.ChangeModify},
			{Path: "/" + base + "/new", Kind: layerdiff.ChangeAdd},
		} {
			if !slices.Contains(changes, want) {
				t.Errorf("there is no %v of the %d bytes long path %s", want.Kind, len(want.Path), filepath.Base(want.Path))
			}
		}
		packed, err := s.Diff("child", nil, "base", nil)
		must(t, err)
		got := keysOf(readArchive(t, packed))
		must(t, packed.Close())
		for _, want := range []string{".wh.gone", base + "/.wh.hidden", base + "/below", base + "/new"} {
			if !slices.Contains(got, want) {
				t.Errorf("the archive has no %d bytes long name of %s", len(want), filepath.Base(want))
			}
		}

		// Mount a layer on top of it, with a shadow for its whiteouts.
		s.create(t, "child", "top")
		look(s.get(t, "top"), shown)
		must(t, s.Put("top"))
		for _, id := range []string{"top", "child", "base"} {
			must(t, s.Remove(id))
		}
		noLeftovers(t, s)
	})
}

// TestRemoveVeryDeepTree removes a tree with more levels than the process can have open files.
func TestRemoveVeryDeepTree(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		diff := s.inner.Home.Diff("base")
		write(t, diff, files{"deep-1/f": "", "deep-2": "", "wide/x/f": ""})
		for _, dir := range []string{diff, filepath.Join(diff, "wide"), filepath.Join(diff, "wide/x")} {
			deepTree(t, dir, 1500)
		}
		var limit unix.Rlimit
		must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
		less := limit
		less.Cur = 500
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &less))
		defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
		if err := os.RemoveAll(diff); !errors.Is(err, unix.EMFILE) {
			t.Fatalf("the standard library can do it: %v", err)
		}
		must(t, s.Remove("base"))
		noLeftovers(t, s)
	})
}

// deepTree makes depth directories, each in the one before, and a file in each of them.
func deepTree(t *testing.T, root string, depth int) {
	t.Helper()
	dir, err := os.Open(root)
	must(t, err)
	for range depth {
		must(t, os.Mkdir(fsutil.Within(dir, "d"), 0o755))
		next, err := os.Open(fsutil.Within(dir, "d"))
		must(t, err)
		must(t, os.WriteFile(fsutil.Within(next, "f"), nil, 0o644))
		must(t, dir.Close())
		dir = next
	}
	must(t, dir.Close())
}

// TestApplyDeepArchive applies an archive with a name that is longer than a path can be. ApplyDiff fails, and the layer stays empty.
func TestApplyDeepArchive(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		deep := strings.Repeat(strings.Repeat("d", 200)+"/", 25)
		_, err := s.ApplyDiff("base", "", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "f", Content: "f"}, entry{Name: deep})})
		wants(t, err, nil, "base", "file name too long")
		sameNames(t, readTree(t, s.inner.Home.Diff("base")).Names())
	})
}
