//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// TestQuotaApplyDiff unpacks archives into layers with a quota: into empty ones, and into one that has files.
func TestQuotaApplyDiff(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		large := entry{Name: "large", Content: strings.Repeat("l", 1<<20)}
		for what, apply := range map[string]func(id string, o driver.ApplyOptions) (int64, error){
			"applied": func(id string, o driver.ApplyOptions) (int64, error) { return s.ApplyDiff(id, "middle", o) },
			"staged":  func(id string, o driver.ApplyOptions) (int64, error) { return s.applyStagedLayer(id, "middle", o) },
		} {
			t.Run(what, func(t *testing.T) {
				s.limited(t, "new", "size=2M")
				_, err := apply("new", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "own/"}, large, entry{Name: ".wh.new"})})
				must(t, err)
				if _, used := s.quotaOf(t, "new"); used.Bytes < 1<<20 || used.Bytes > 3<<19 {
					t.Errorf("1 MB takes %+v", used)
				}
				s.change(t, "new", func(dir string) {
					must(t, os.Rename(filepath.Join(dir, "large"), filepath.Join(dir, "own/large")))
					must(t, os.Rename(filepath.Join(dir, "own"), filepath.Join(dir, "moved")))
					if written := writeUntilFull(t, dir); written > 1<<20 {
						t.Errorf("there was room for %d bytes", written)
					}
				})
				if archive := s.diff(t, "new", "middle"); archive["moved/large"] == nil || archive[".wh.new"] == nil || archive["large"] != nil {
					t.Errorf("the archive has %v", slices.Sorted(maps.Keys(archive)))
				}
				must(t, s.Remove("new"))
			})
		}
		s.limited(t, "small", "size=500k")
		_, err := s.ApplyDiff("small", "middle", driver.ApplyOptions{Diff: archiveOf(t, large)})
		if err == nil {
			t.Error("there is room for 1 MB in 500 kB")
		}
		sameNames(t, readTree(t, s.inner.Home.Diff("small")).Names())
		s.waitForRoom(t, "small", 1<<16)
		target := s.stage(t, filling{content: archiveBytes(t, entry{Name: "f", Content: "f"})})
		wants(t, s.ApplyStaged("small", "middle", target, false), nil, "small", "the layer has a quota")
		must(t, s.CleanupStagingDirectory(target))
		s.apply(t, "small", "middle", entry{Name: "f", Content: "fits"})
		// A layer with files takes the archive through a mount.
		if _, err = s.ApplyDiff("small", "middle", driver.ApplyOptions{Diff: archiveOf(t, large)}); err == nil {
			t.Error("there is room for 1 MB more in 500 kB")
		}
		noLeftovers(t, s)
	})
}

// TestQuotaConversion mounts and converts a layer that is as full as it can be. It keeps its limits.
func TestQuotaConversion(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		s.limited(t, "limited", "size=1M")
		s.change(t, "limited", func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "new")))
			must(t, os.RemoveAll(filepath.Join(dir, "d")))
			write(t, dir, files{"d/again": "again"})
			writeUntilFull(t, dir)
		})
		want := s.see(t, "limited")
		must(t, s.Cleanup())
		home := string(s.inner.Home)
		must(t, maintenance.Convert(t.Context(), home))
		for _, name := range append(hostBackends(t), name) {
			other, err := reopen(home, name)
			must(t, err)
			sameTree(t, other.see(t, "limited"), want)
			other.change(t, "limited", func(dir string) {
				// Marks of the other form, which are gone, may have taken something.
				if written := writeUntilFull(t, dir); written > 1<<17 {
					t.Errorf("on %s there was room for %d bytes", name, written)
				}
			})
			want = other.see(t, "limited")
			must(t, other.Cleanup())
		}
		s, err := reopen(home, name)
		must(t, err)
		must(t, s.Cleanup())
		noLeftovers(t, s)
	})
}

// takeInodes makes directories until there is an error, which has to be that of a quota of 30 inodes at most.
func takeInodes(t *testing.T, dir string) {
	t.Helper()
	err := asContainer(t, func() (err error) {
		for n := 0; n < 30 && err == nil; n++ {
			_, err = os.MkdirTemp(dir, "full-")
		}
		return err
	})
	if !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
		t.Errorf("there is always another inode: %v", err)
	}
}

// TestQuotaOnImageStore fills a layer on top of a layer of an additional image store, by a volatile mount.
func TestQuotaOnImageStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		needSquashfs(t)
		images := t.TempDir()
		mountSquashfs(t, "one", images)
		s := openStore(t, filepath.Join(storetest.QuotaDir(t), "home"), name, withImages(imageStore{path: images}))
		s.limited(t, "limited", "inodes=20")
		for range 2 {
			dir, err := s.Get("limited", driver.GetOptions{Volatile: true})
			must(t, err)
			takeInodes(t, dir)
			must(t, s.Put("limited"))
		}
		if usage, err := s.ReadWriteDiskUsage("limited"); err != nil || usage.Inodes < 15 || usage.Inodes > 20 {
			t.Errorf("the layer takes %+v, %v", usage, err)
		}
		if usage, err := s.ReadWriteDiskUsage("middle"); err != nil || usage.Inodes == 0 {
			t.Errorf("the layer of the image store takes %+v, %v", usage, err)
		}
		s.see(t, "middle")
		must(t, s.Remove("limited"))
		noLeftovers(t, s)
	})
}

// TestQuotaFullLinks archives and unmounts a layer that has no inode left for the names that aufs only keeps in its memory.
func TestQuotaFullLinks(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := newQuotaStore(t, backend.Aufs)
		s.limited(t, "limited", "inodes=20")
		dir := s.get(t, "limited")
		// The name x/link of this file takes a directory in the layer.
		writeThrough(t, filepath.Join(dir, "f"), "changed")
		takeInodes(t, dir)
		if archive := s.diff(t, "limited", "middle"); archive["x/link"] == nil {
			t.Errorf("the archive has %v", slices.Sorted(maps.Keys(archive)))
		}
		must(t, s.Put("limited"))
		if l, used := s.quotaOf(t, "limited"); l.Inodes != 20 || used.Inodes <= 20 {
			t.Errorf("the limits are %+v, and the layer takes %+v", l, used)
		}
	})
}

// TestQuotaOfRunning archives a mounted layer, and looks at its limits all the time. The layer must never be without limits, because a
// container may run in it.
func TestQuotaOfRunning(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := newQuotaStore(t, backend.Aufs)
		s.limited(t, "limited", "size=1M", "inodes=200")
		want, _ := s.quotaOf(t, "limited")
		p, err := s.project("limited")
		must(t, err)
		dir := s.get(t, "limited")
		writeThrough(t, filepath.Join(dir, "f"), "changed")
		end, ended := make(chan bool), make(chan quota.Limits)
		go func() {
			var most quota.Limits
			for {
				select {
				case <-end:
					ended <- most
					return
				default:
				}
				l, err := p.Limits(string(s.inner.Home))
				if err != nil || l.Bytes == 0 || l.Inodes == 0 {
					t.Errorf("the limits are %+v, %v", l, err)
					<-end
					ended <- most
					return
				}
				most = quota.Limits{Bytes: max(most.Bytes, l.Bytes), Inodes: max(most.Inodes, l.Inodes)}
			}
		}()
		for range 30 {
			s.diff(t, "limited", "middle")
		}
		end <- true
		if most := <-ended; most.Bytes > want.Bytes+64<<20 || most.Inodes > want.Inodes+10_000 {
			t.Errorf("the limits were raised to %+v", most)
		}
		must(t, s.Put("limited"))
	})
}

// TestQuotaRestored has a layer without the limits that it should have, as if a process had been killed while it mounted the layer.
func TestQuotaRestored(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		s.limited(t, "limited", "size=1M", "inodes=50")
		want, _ := s.quotaOf(t, "limited")
		unlimited := func() {
			t.Helper()
			p, err := s.project("limited")
			must(t, err)
			must(t, p.SetLimits(string(s.inner.Home), quota.Limits{}))
		}
		restored := func(what string) {
			t.Helper()
			if got, _ := s.quotaOf(t, "limited"); got != want {
				t.Errorf("after %s the limits are %+v and not %+v", what, got, want)
			}
		}
		unlimited()
		s.get(t, "limited")
		restored("Get")
		unlimited()
		s.get(t, "limited")
		restored("Get of a mounted layer")
		must(t, s.Put("limited"))
		if name == backend.Aufs {
			unlimited()
			s.diff(t, "limited", "middle")
			restored("Diff of a mounted layer")
			unlimited()
			must(t, s.Put("limited"))
			restored("Put")
			return
		}
		must(t, s.Put("limited"))
	})
}

// TestQuotaManyDrivers has several drivers make layers in one store at the same time. No two layers may have one project.
func TestQuotaManyDrivers(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		const drivers, layers = 4, 10
		var all sync.WaitGroup
		for n := range drivers {
			other, err := reopen(string(s.inner.Home), name)
			must(t, err)
			all.Add(1)
			go func() {
				defer all.Done()
				for i := range layers {
					id := fmt.Sprintf("layer-%d-%d", n, i)
					err := other.CreateReadWrite(id, "middle", layerOptions("inodes=100"))
					if err == nil && i%3 == 2 {
						err = other.Remove(id)
					}
					if err != nil {
						t.Error(err)
					}
				}
			}()
		}
		all.Wait()
		ids, err := s.ListLayers()
		must(t, err)
		seen := map[quota.Project]string{}
		for _, id := range ids {
			if !strings.HasPrefix(id, "layer-") {
				continue
			}
			p, err := s.project(id)
			if err != nil || p == 0 || seen[p] != "" {
				t.Errorf("%s has project %d, as %q: %v", id, p, seen[p], err)
			}
			seen[p] = id
		}
		if len(seen) != drivers*(layers-3) {
			t.Errorf("there are %d layers", len(seen))
		}
		noLeftovers(t, s)
	})
}

// TestQuotaHostile gives a layer's directory the project of another layer, as a container can. The other layer keeps its limits.
func TestQuotaHostile(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		s.limited(t, "good", "size=1M")
		s.limited(t, "bad", "size=1M")
		good, err := s.project("good")
		must(t, err)
		must(t, good.Give(s.inner.Home.Diff("bad")))
		if _, err := s.ReadWriteDiskUsage("bad"); err != nil {
			t.Error(err)
		}
		s.change(t, "bad", func(dir string) { _ = os.Mkdir(filepath.Join(dir, "own"), 0o700) })
		must(t, s.Remove("bad"))
		if l, _ := s.quotaOf(t, "good"); l.Bytes != 1<<20 {
			t.Errorf("the other layer's limits are %+v", l)
		}
		noLeftovers(t, s)
	})
}

// TestQuotaCopied has a layer with the record of another one, as in a store that was copied to a disk where the other one has the number.
func TestQuotaCopied(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		s.limited(t, "good", "size=1M")
		s.limited(t, "copied")
		record, err := os.Readlink(s.inner.Home.Overlay(store.QuotaDir, "good"))
		must(t, err)
		must(t, os.Symlink(record, s.inner.Home.Overlay(store.QuotaDir, "copied")))
		s.change(t, "copied", func(dir string) { write(t, dir, files{"a": "a", "b": "b"}) })
		if p, err := s.project("copied"); err != nil || p != 0 {
			t.Errorf("it has project %d, %v", p, err)
		}
		if usage, err := s.ReadWriteDiskUsage("copied"); err != nil || usage.Size != 2 {
			t.Errorf("it takes %+v, %v", usage, err)
		}
		must(t, s.Remove("copied"))
		if l, used := s.quotaOf(t, "good"); l.Bytes != 1<<20 || used.Inodes != 1 {
			t.Errorf("the other layer's limits are %+v, and it takes %+v", l, used)
		}
		noLeftovers(t, s)
	})
}

// TestQuotaAndInTreeDriver has the in-tree driver use a store in which layers have quotas, and remove one of these layers.
func TestQuotaAndInTreeDriver(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := newQuotaStore(t, backend.Aufs)
		home := string(s.inner.Home)
		for _, id := range []string{"stays", "goes"} {
			s.limited(t, id, "size=2M")
			s.change(t, id, func(dir string) {
				// In a directory that is opaque twice, the in-tree driver shows too much.
				must(t, os.RemoveAll(filepath.Join(dir, "x")))
				write(t, dir, files{"x/new": "new"})
			})
		}
		want := s.list(t, "stays")
		must(t, s.Cleanup())
		t.Cleanup(wire.ExpectMessages(unflushed))
		old := newIntree(t, home)
		sameText(t, "the in-tree driver's view", old.Run(t, nil, "tree", "stays"), want)
		old.Run(t, nil, "run", "stays", "--", "rm", "x/new")
		old.Run(t, nil, "remove", "goes")
		old.Run(t, nil, "cleanup")
		s = openStore(t, home, backend.Aufs)
		noLeftovers(t, s)
		s.change(t, "stays", func(dir string) {
			if _, err := os.Lstat(filepath.Join(dir, "x/new")); !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
			if written := writeUntilFull(t, dir); written > 2<<20 {
				t.Errorf("there is room for %d bytes", written)
			}
		})
		must(t, s.Remove("stays"))
		noLeftovers(t, s)
	})
}
