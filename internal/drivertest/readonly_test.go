//go:build linux

package drivertest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// TestReadOnlyStore uses a store on a file system that is mounted read-only. Operations that read must work, and those that write must say that they
// cannot.
func TestReadOnlyStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, prepare := range map[string]func(t *testing.T, s testStore){
			"as it was left": func(t *testing.T, s testStore) {
				t.Helper()
				// This makes the shadows of layers with whiteouts.
				s.see(t, "top", "ro")
			},
			"as the in-tree driver leaves it": func(t *testing.T, s testStore) {
				t.Helper()
				for _, dir := range []string{store.TmpDir, store.OverlayDir} {
					must(t, os.RemoveAll(filepath.Join(string(s.inner.Home), dir)))
				}
			},
		} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "middle", "top")
				s.apply(t, "base", "", entry{Name: "f", Content: "f"}, entry{Name: "gone", Content: "x"}, entry{Name: "d/"}, entry{Name: "d/f", Content: "df"})
				s.create(t, "base", "plain")
				s.apply(t, "plain", "base", entry{Name: "g", Content: "g"})
				if what == "as it was left" {
					s.apply(t, "middle", "base", entry{Name: ".wh.gone"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"})
				}
				want := map[string]tree{}
				for _, id := range []string{"base", "middle", "plain", "top"} {
					want[id] = s.see(t, id, "ro")
				}
				prepare(t, s)
				must(t, s.Cleanup())

				home := filepath.Join(t.TempDir(), "home")
				must(t, os.Mkdir(home, 0o700))
				must(t, unix.Mount(string(s.inner.Home), home, "", unix.MS_BIND, ""))
				defer func() { must(t, unix.Unmount(home, 0)) }()
				must(t, unix.Mount("", home, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
				before := readTree(t, string(s.inner.Home))

				r, err := reopen(home, name)
				must(t, err)
				ids, err := r.ListLayers()
				must(t, err)
				sameNames(t, ids, "base", "middle", "plain", "top")
				for id, tree := range want {
					sameTree(t, r.see(t, id, "ro"), tree)
				}
				sameNames(t, keysOf(r.diff(t, "plain", "base")), "g")
				changes, err := r.Changes("plain", nil, "base", nil)
				must(t, err)
				sameNames(t, kinds(changes), "A /g")
				usage, err := r.ReadWriteDiskUsage("plain")
				if err != nil || usage.Size != 1 {
					t.Errorf("usage: %v, %v", usage, err)
				}
				getter, err := r.inner.DiffGetter("plain")
				must(t, err)
				must(t, getter.Close())

				wants(t, r.Create("new", "top", nil), unix.EROFS, "new")
				wants(t, r.Remove("plain"), unix.EROFS, "plain")
				_, err = r.Get("top", driver.GetOptions{})
				wants(t, err, unix.EROFS, "top")
				_, err = r.ApplyDiff("top", "middle", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "f"})})
				wants(t, err, unix.EROFS, "top")
				must(t, r.Cleanup())
				noMounts(t, filepath.Join(home, store.MntDir))
				sameTree(t, readTree(t, string(s.inner.Home)), before)
			})
		}
	})
}
