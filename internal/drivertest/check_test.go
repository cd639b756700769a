//go:build linux

package drivertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// A damage is something that happens to a store with the layers base, middle on top of base, and top on top of middle.
type damage struct {
	name string
	do   func(t *testing.T, s testStore)
	// found are the kinds of problems that the damage causes, and left the kinds that Repair leaves, each with the layer concerned.
	found, left []string
}

var damages = []damage{
	{"none", func(*testing.T, testStore) {}, nil, nil},
	{"mounted", func(t *testing.T, s testStore) { s.get(t, "top"); s.get(t, "middle", "ro") }, nil, nil},
	{
		"an empty file of parents",
		func(t *testing.T, s testStore) {
			must(t, os.WriteFile(s.inner.Home.Layers("middle"), nil, 0o644))
		},
		[]string{"damaged parents top", "suspect base middle"},
		nil,
	},
	{
		"a file of parents that is cut short",
		func(t *testing.T, s testStore) {
			must(t, os.WriteFile(s.inner.Home.Layers("top"), []byte("middle\nba"), 0o644))
		},
		[]string{"damaged parents top"},
		nil,
	},
	{
		"a file of parents that is cut within its only name",
		func(t *testing.T, s testStore) {
			must(t, os.WriteFile(s.inner.Home.Layers("top"), []byte("mid"), 0o644))
		},
		[]string{"damaged parents top"},
		[]string{"damaged parents top"},
	},
	{
		"a file of parents in the wrong order",
		func(t *testing.T, s testStore) {
			must(t, os.WriteFile(s.inner.Home.Layers("top"), []byte("base\nmiddle\n"), 0o644))
		},
		[]string{"damaged parents top"},
		[]string{"damaged parents top"},
	},
	{
		"a parent that is gone", func(t *testing.T, s testStore) { must(t, s.Remove("middle")) },
		[]string{"damaged parents top"},
		[]string{"damaged parents top"},
	},
	{
		"no files", func(t *testing.T, s testStore) { must(t, os.RemoveAll(s.inner.Home.Diff("top"))) },
		[]string{"missing directory top"},
		[]string{"missing directory top"},
	},
	{"no mount point", func(t *testing.T, s testStore) { must(t, os.Remove(s.inner.Home.Mnt("top"))) }, []string{"missing directory top"}, nil},
	{
		"what belongs to no layer",
		func(t *testing.T, s testStore) {
			write(t, string(s.inner.Home), files{"diff/gone/f": "", "mnt/gone/": "", "overlay/shadow/gone/digest/above/": "", "diff/x-removing/f": ""})
		},
		[]string{"orphan gone", "orphan gone", "orphan gone", "orphan x-removing"},
		nil,
	},
	{
		"scratch directories",
		func(t *testing.T, s testStore) {
			write(t, string(s.inner.Home), files{"tmp/trash-1/f": "", "tmp/file-2": "mid"})
		},
		[]string{"leftover ", "leftover "},
		nil,
	},
	{
		"foreign files",
		func(t *testing.T, s testStore) {
			write(t, string(s.inner.Home), files{"tmp/f": "", "layers/d/f": ""})
		},
		[]string{"foreign ", "foreign "},
		[]string{"foreign ", "foreign "},
	},
	{
		"a mount of no layer",
		func(t *testing.T, s testStore) {
			write(t, string(s.inner.Home), files{"mnt/gone/": ""})
			must(t, unix.Mount("none", s.inner.Home.Mnt("gone"), "tmpfs", 0, ""))
		},
		[]string{"orphan gone", "stale mount gone"},
		nil,
	},
	{
		"overlayfs's whiteouts",
		func(t *testing.T, s testStore) {
			must(t, s.Create("fresh", "top", nil))
			write(t, s.inner.Home.Diff("fresh"), files{"d/": ""})
			must(t, unix.Mknod(filepath.Join(s.inner.Home.Diff("fresh"), "d/x"), unix.S_IFCHR, 0))
			must(t, system.Lsetxattr(filepath.Join(s.inner.Home.Diff("fresh"), "d"), "trusted.overlay.opaque", []byte("y"), 0))
		},
		[]string{"wrong form fresh", "wrong form fresh"},
		[]string{"wrong form fresh", "wrong form fresh"},
	},
	{
		"a layer in overlay form",
		func(t *testing.T, s testStore) {
			must(t, s.inner.Forms.ToOverlay("top", store.OwnForm(), func() bool { return false }))
		},
		nil, nil,
	},
	{
		"a form that there is not",
		func(t *testing.T, s testStore) {
			must(t, os.MkdirAll(s.inner.Home.Overlay(store.FormDir), 0o700))
			must(t, s.inner.Home.ReplaceLink("odd", s.inner.Home.Overlay(store.FormDir, "top")))
		},
		[]string{"foreign top"},
		[]string{"foreign top"},
	},
	{
		"records that say nothing",
		func(t *testing.T, s testStore) {
			write(t, s.inner.Home.Overlay(), files{"ids/top": "odd", "owners/top": "odd", "quota/": ""})
			must(t, os.Symlink("odd", s.inner.Home.Overlay(store.QuotaDir, "top")))
		},
		[]string{"foreign top", "foreign top", "foreign top"},
		[]string{"foreign top", "foreign top", "foreign top"},
	},
	{
		"files in the places of links",
		func(t *testing.T, s testStore) {
			must(t, os.RemoveAll(s.inner.Home.Overlay(store.FormDir, "top")))
			write(t, s.inner.Home.Overlay(), files{"form/top": "", "quota/top": ""})
			for dir, read := range map[string]func(h store.Home, id string) error{
				store.FormDir:  func(h store.Home, id string) error { _, err := h.ReadForm(id); return err },
				store.QuotaDir: func(h store.Home, id string) error { _, err := layerquota.Of(h, id); return err },
			} {
				wants(t, read(s.inner.Home, "top"), store.ErrDamaged, s.inner.Home.Overlay(dir, "top"))
			}
		},
		[]string{"foreign top", "foreign top"},
		[]string{"foreign top", "foreign top"},
	},
}

func TestCheck(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, damage := range damages {
			t.Run(damage.name, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "middle", "top")
				for _, id := range []string{"middle", "top"} {
					s.change(t, id, func(dir string) { write(t, dir, files{id: id}) })
				}
				// Only aufs leaves files which show that somebody has written to a layer.
				write(t, s.inner.Home.Diff("middle"), files{".wh..wh.aufs": ""})
				want := s.see(t, "top")
				damage.do(t, s)
				before := treeOf(t, s)
				found := kindsOf(maintenance.Check(t.Context(), string(s.inner.Home)))
				sameNames(t, found, damage.found...)
				sameNames(t, treeOf(t, s).Names(), before.Names()...)
				left := kindsOf(maintenance.Repair(t.Context(), string(s.inner.Home)))
				sameNames(t, left, damage.left...)
				if len(damage.left) == 0 {
					sameTree(t, s.see(t, "top"), want)
				}
			})
		}
	})
}

// treeOf returns the store as a tree, without locks and without what is mounted in the store.
func treeOf(t *testing.T, s testStore) tree {
	t.Helper()
	all := readTree(t, string(s.inner.Home))
	for path := range all {
		if strings.HasPrefix(path, "mnt/") || strings.HasPrefix(path, "overlay/lock") || path == "overlay" {
			delete(all, path)
		}
	}
	return all
}

// kindsOf returns the kinds of the problems, each with the layer concerned.
func kindsOf(problems []maintenance.Problem, err error) []string {
	var kinds []string
	for _, p := range problems {
		kinds = append(kinds, string(p.Kind)+" "+p.Layer)
	}
	if err != nil {
		kinds = append(kinds, err.Error())
	}
	return kinds
}

func TestCheckErrors(t *testing.T) {
	if _, err := maintenance.Check(t.Context(), t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is no store: %v", err)
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := maintenance.Check(ctx, string(s.inner.Home)); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// TestCheckChangesNothing checks a store that this driver has never opened, which has no lock files, and in which something is mounted in
// the place of a layer that is gone.
func TestCheckChangesNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it mounts")
	}
	dir := t.TempDir()
	write(t, dir, files{"layers/base": "", "layers/top": "base\n", "diff/base/f": "f", "diff/top/g": "g"})
	for _, id := range []string{"base", "top", "gone"} {
		must(t, os.MkdirAll(filepath.Join(dir, store.MntDir, id), 0o700))
	}
	must(t, unix.Mount("tmpfs", filepath.Join(dir, store.MntDir, "gone"), "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(filepath.Join(dir, store.MntDir, "gone"), 0)) })
	h := store.Home(dir)
	before := readTree(t, dir)
	problems, err := maintenance.Check(context.Background(), dir)
	must(t, err)
	sameTree(t, readTree(t, dir), before)
	kinds := map[maintenance.ProblemKind]string{}
	for _, p := range problems {
		kinds[p.Kind] = p.Layer
	}
	if len(problems) != 2 || kinds[maintenance.StaleMount] != "gone" || kinds[maintenance.Orphan] != "gone" {
		t.Errorf("%v", problems)
	}
	// If somebody holds the lock of the layer, he may be about to unmount it: Check does not report the mount.
	lock, err := h.LockID("gone")
	must(t, err)
	problems, err = maintenance.Check(context.Background(), dir)
	lock.Unlock()
	must(t, err)
	for _, p := range problems {
		if p.Kind == maintenance.StaleMount {
			t.Errorf("%v", p)
		}
	}
}
