//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/store"
	trees "github.com/seed-642172e2/aufs/internal/listing"
	"golang.org/x/sys/unix"
)

func idMaps(maps ...idmap.Map) *idmap.Mappings {
	return idmapsOf(maps, maps)
}

var (
	noMaps = &idmap.Mappings{}
	// fewIDs has no ids for some of the owners of peculiar files.
	fewIDs = idMaps(idmap.Map{HostID: 100_000, Size: 5000})
	// twoRanges has ids for all owners.
	twoRanges = idMaps(idmap.Map{HostID: 100_000, Size: 1000}, idmap.Map{ContainerID: 1000, HostID: 200_000, Size: 2_000_000_000})
)

// onHost returns the id that id has on the host, or that of nobody if m has none.
func onHost(id uint32, m *idmap.Mappings) uint32 {
	if to, err := idmap.ToHost(int(id), m.UIDs); err == nil {
		return uint32(to)
	}
	return 65534
}

// ownedTree returns all that there is to see of the tree at dir, with owners mapped by m.
func ownedTree(t *testing.T, dir string, m *idmap.Mappings) map[string]trees.Entry {
	t.Helper()
	entries, err := trees.Read(dir)
	must(t, err)
	tr := map[string]trees.Entry{}
	for _, e := range entries {
		e.UID, e.GID = onHost(e.UID, m), onHost(e.GID, m)
		tr[e.Path] = e
	}
	return tr
}

func sameEntries(t *testing.T, what string, got, want map[string]trees.Entry) {
	t.Helper()
	for path, e := range want {
		if got[path] != e {
			t.Errorf("%s: %q\n is  %+v\n not %+v", what, path, got[path], e)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %q is too many", what, path)
		}
	}
}

// seeOwned returns the ownedTree of a mount of the layer id.
func (s testStore) seeOwned(t *testing.T, id string, m *idmap.Mappings) map[string]trees.Entry {
	t.Helper()
	dir := s.get(t, id)
	tr := ownedTree(t, dir, m)
	must(t, s.Put(id))
	return tr
}

// makePeculiar makes in dir a directory for each kind of peculiar files, and files with names of one letter.
func makePeculiar(t *testing.T, dir string) {
	t.Helper()
	makeSome(t, dir, func(string) bool { return true })
}

// makeSome is makePeculiar for the wanted kinds only.
func makeSome(t *testing.T, dir string, wanted func(kind string) bool) {
	t.Helper()
	write(t, dir, files{"a": "a", "b": "b", "c/": "", "z": "z"})
	must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "y")))
	for _, p := range peculiar {
		if !wanted(p.name) {
			continue
		}
		below := filepath.Join(dir, strings.ReplaceAll(p.name, " ", ""))
		must(t, os.Mkdir(below, 0o755))
		p.make(t, below)
	}
	must(t, os.Chtimes(filepath.Join(dir, "c"), time.Unix(1000, 123_456_789), time.Unix(1000, 123_456_789)))
}

// peculiarImage makes an image of two layers, base and middle.
func peculiarImage(t *testing.T, s testStore) {
	t.Helper()
	s.create(t, "", "base")
	base := s.inner.Home.Diff("base")
	write(t, base, files{"gone": "x", "same": "same", "opaque/f": "f", "d/f": "f", "d/e/f": "f"})
	must(t, os.Link(filepath.Join(base, "d/f"), filepath.Join(base, "d/e/g")))
	must(t, os.Chtimes(filepath.Join(base, "d/e"), time.Unix(2000, 987_654_321), time.Unix(2000, 987_654_321)))
	must(t, os.Chtimes(filepath.Join(base, "d/f"), time.Unix(3000, 987_654_321), time.Unix(3000, 987_654_321)))
	s.create(t, "base", "middle")
	dir := s.get(t, "middle", "acl")
	makePeculiar(t, dir)
	must(t, os.Remove(filepath.Join(dir, "gone")))
	must(t, s.Put("middle"))
}

// TestOwnersAloneAreChanged changes the owners in layers of peculiar files, a base and a layer on top of an image, and changes them back.
// Everything else stays as it was.
func TestOwnersAloneAreChanged(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		peculiarImage(t, s)
		s.create(t, "", "plain")
		makePeculiar(t, s.inner.Home.Diff("plain"))
		s.create(t, "middle", "mapped")
		for _, id := range []string{"plain", "mapped"} {
			// Aufs makes files of its own when it first mounts a layer.
			must(t, drainMount(s, id))
			before := s.seeOwned(t, id, noMaps)
			want := s.seeOwned(t, id, twoRanges)
			image := map[string]map[string]trees.Entry{}
			for _, parent := range []string{"base", "middle"} {
				image[parent] = ownedTree(t, s.inner.Home.Diff(parent), noMaps)
			}
			must(t, s.UpdateLayerIDMap(id, noMaps, twoRanges, ""))
			s.oneForm(t, id)
			sameEntries(t, id, s.seeOwned(t, id, noMaps), want)
			must(t, s.UpdateLayerIDMap(id, twoRanges, noMaps, ""))
			sameEntries(t, id+" again", s.seeOwned(t, id, noMaps), before)
			want = s.seeOwned(t, id, fewIDs)
			must(t, s.UpdateLayerIDMap(id, noMaps, fewIDs, ""))
			sameEntries(t, id+" with few ids", s.seeOwned(t, id, noMaps), want)
			for parent, before := range image {
				sameEntries(t, parent, ownedTree(t, s.inner.Home.Diff(parent), noMaps), before)
			}
		}
		noLeftovers(t, s)
	})
}

func drainMount(s testStore, id string) error {
	if _, err := s.Get(id, driver.GetOptions{}); err != nil {
		return err
	}
	return s.Put(id)
}

// TestOwnersInListsAreChanged shows that a change of owners also maps the owners in access control lists.
func TestOwnersInListsAreChanged(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "mapped")
		f := filepath.Join(s.inner.Home.Diff("base"), "f")
		write(t, s.inner.Home.Diff("base"), files{"f": "f"})
		setACL(t, f, fsutil.ACLAccess, 1000, 7)
		list, err := system.Lgetxattr(f, fsutil.ACLAccess)
		must(t, err)
		want, _, err := layertar.ACLToHost(list, twoRanges)
		must(t, err)
		must(t, s.UpdateLayerIDMap("mapped", noMaps, twoRanges, ""))
		got, err := system.Lgetxattr(filepath.Join(s.inner.Home.Diff("mapped"), "f"), fsutil.ACLAccess)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("the list is %x, %v, and not %x", got, err, want)
		}
		changes, err := s.Changes("mapped", twoRanges, "base", noMaps)
		if err != nil || len(changes) > 0 {
			t.Errorf("%v, %v", changes, err)
		}
	})
}

// TestOwnersOfMountsStay changes the owners of a layer in which other files are mounted: those keep their owners.
func TestOwnersOfMountsStay(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "mapped")
		write(t, s.inner.Home.Diff("base"), files{"d/": "", "f": "f", "g": "g"})
		dir := s.get(t, "mapped")
		must(t, unix.Mount("tmpfs", filepath.Join(dir, "d"), "tmpfs", 0, ""))
		defer func() { must(t, unix.Unmount(filepath.Join(dir, "d"), 0)) }()
		write(t, dir, files{"d/inside": "x"})
		must(t, unix.Mount(filepath.Join(dir, "d/inside"), filepath.Join(dir, "f"), "", unix.MS_BIND, ""))
		defer func() { must(t, unix.Unmount(filepath.Join(dir, "f"), 0)) }()
		must(t, s.UpdateLayerIDMap("mapped", noMaps, fewIDs, ""))
		for path, want := range map[string]uint32{".": 100_000, "g": 100_000, "d": 0, "d/inside": 0, "f": 0} {
			info, err := os.Lstat(filepath.Join(dir, path))
			must(t, err)
			if got := fsutil.StatOf(info).Uid; got != want {
				t.Errorf("%s belongs to %d", path, got)
			}
		}
	})
}

// mappedChanges returns the changes of the layer id, whose owners were mapped by m. It fails the test unless Changes, Diff and DiffSize
// agree: the archive has the names of the changes, and its sizes add up to the size.
func (s testStore) mappedChanges(t *testing.T, id, parent string, m *idmap.Mappings) []string {
	t.Helper()
	changes, err := s.Changes(id, m, parent, noMaps)
	must(t, err)
	r, err := s.Diff(id, m, parent, noMaps)
	must(t, err)
	headers := readArchive(t, r)
	must(t, r.Close())
	var size int64
	var names []string
	for name, h := range headers {
		size += h.Size
		if h.Typeflag == tar.TypeSymlink {
			size += int64(len(h.Linkname))
		}
		dir, base := filepath.Split("/" + strings.TrimSuffix(name, "/"))
		names = append(names, dir+strings.TrimPrefix(base, ".wh."))
	}
	var paths []string
	for _, c := range changes {
		paths = append(paths, c.Path)
	}
	sameNames(t, names, paths...)
	if got, err := s.DiffSize(id, m, parent, noMaps); err != nil || got != size {
		t.Errorf("DiffSize is %d, %v, and the archive has %d bytes", got, err, size)
	}
	return kinds(changes)
}

// TestOwnersAreNoChanges shows that a layer in which only the owners were changed has no changes, and that later changes show.
func TestOwnersAreNoChanges(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, m := range map[string]*idmap.Mappings{"few ids": fewIDs, "two ranges": twoRanges} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				peculiarImage(t, s)
				s.create(t, "middle", "mapped")
				must(t, s.UpdateLayerIDMap("mapped", noMaps, m, ""))
				sameNames(t, s.mappedChanges(t, "mapped", "middle", m))
				if m == twoRanges {
					must(t, s.UpdateLayerIDMap("mapped", m, noMaps, ""))
					sameNames(t, s.mappedChanges(t, "mapped", "middle", noMaps))
					must(t, s.UpdateLayerIDMap("mapped", noMaps, m, ""))
				}
				s.change(t, "mapped", func(dir string) {
					must(t, appendTo(filepath.Join(dir, "links/d/two"), "more"))
					must(t, os.Remove(filepath.Join(dir, "z")))
					write(t, dir, files{"c/new": "new"})
					// Change only the content of a file.
					info, err := os.Lstat(filepath.Join(dir, "same"))
					must(t, err)
					must(t, os.WriteFile(filepath.Join(dir, "same"), []byte("emas"), 0o644))
					must(t, os.Chtimes(filepath.Join(dir, "same"), info.ModTime(), info.ModTime()))
					for _, path := range []string{"c/new", "c"} {
						must(t, os.Lchown(filepath.Join(dir, path), 100_000, 100_000))
					}
				})
				sameNames(t, s.mappedChanges(t, "mapped", "middle", m), "C /c", "A /c/new", "D /z", "C /same",
					"C /links", "C /links/d", "C /links/d/e", "C /links/one", "C /links/d/two", "C /links/d/e/three")
			})
		}
	})
}

// TestMappedLayerAsAnArchive changes the owners of a layer that has content of its own, and applies the layer's archive to another layer on
// the same parent. Both layers show the same.
func TestMappedLayerAsAnArchive(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		peculiarImage(t, s)
		s.create(t, "middle", "mapped")
		s.create(t, "middle", "again")
		edit := func(dir string) {
			info, err := os.Lstat(filepath.Join(dir, "opaque/f"))
			must(t, err)
			// Replace a directory by one that has a file like that of before.
			must(t, os.RemoveAll(filepath.Join(dir, "opaque")))
			write(t, dir, files{"opaque/f": "f", "opaque/d/": "", "own": "own"})
			must(t, os.Chtimes(filepath.Join(dir, "opaque/f"), info.ModTime(), info.ModTime()))
			must(t, os.Remove(filepath.Join(dir, "b")))
		}
		s.change(t, "mapped", edit)
		want := secondsOf(s.seeOwned(t, "mapped", noMaps))
		must(t, s.UpdateLayerIDMap("mapped", noMaps, twoRanges, ""))
		r, err := s.Diff("mapped", twoRanges, "middle", noMaps)
		must(t, err)
		_, err = s.ApplyDiff("again", "middle", driver.ApplyOptions{Diff: r})
		must(t, err)
		must(t, r.Close())
		got := secondsOf(s.seeOwned(t, "again", noMaps))
		sameEntries(t, "again", got, want)
	})
}

// secondsOf returns the tree as archives have it: with times in whole seconds, and without the root.
func secondsOf(tr map[string]trees.Entry) map[string]trees.Entry {
	delete(tr, ".")
	for path, e := range tr {
		e.Mtime -= e.Mtime % 1e9
		tr[path] = e
	}
	return tr
}

// TestChangeOfOwnersCutShort interrupts changes of owners at several points. The layer can be read, and is as it should be when the change
// is made again.
func TestChangeOfOwnersCutShort(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		few := func(kind string) bool {
			return slices.Contains([]string{"capabilities and attributes", "links", "modes and owners"}, kind)
		}
		s.create(t, "", "middle")
		makeSome(t, s.inner.Home.Diff("middle"), few)
		s.create(t, "", "plain")
		makeSome(t, s.inner.Home.Diff("plain"), few)
		for n := range 4 {
			mapped := fmt.Sprintf("mapped%d", n)
			s.create(t, "middle", mapped)
			for _, id := range []string{"plain", mapped} {
				must(t, drainMount(s, id))
				before := s.seeOwned(t, id, noMaps)
				want := s.seeOwned(t, id, twoRanges)
				done := s.cutShort(t, id, n)
				interrupted := s.seeOwned(t, id, noMaps)
				delete(interrupted, owners.LinkName)
				if len(interrupted) != len(before) {
					t.Errorf("%s shows %d files, and had %d", id, len(interrupted), len(before))
				}
				if parent := "middle"; id == mapped {
					if changes, err := s.Changes(id, twoRanges, parent, noMaps); err != nil || done && len(changes) == 0 {
						t.Errorf("%v, %v", changes, err)
					}
				}
				must(t, s.UpdateLayerIDMap(id, noMaps, twoRanges, ""))
				sameEntries(t, id, s.seeOwned(t, id, noMaps), want)
				s.oneForm(t, id)
				// A change that was cut short is finished before another change begins.
				must(t, s.UpdateLayerIDMap(id, twoRanges, noMaps, ""))
				s.cutShort(t, id, n)
				must(t, s.UpdateLayerIDMap(id, twoRanges, noMaps, ""))
				sameEntries(t, id+" again", s.seeOwned(t, id, noMaps), before)
			}
		}
		noLeftovers(t, s)
	})
}

// cutShort begins a change of owners, makes n quarters of it, and reports whether that is anything.
func (s testStore) cutShort(t *testing.T, id string, n int) bool {
	t.Helper()
	dir := s.get(t, id)
	plan, err := owners.PlanOf(dir, owners.Maps{ToContainer: noMaps, ToHost: twoRanges})
	must(t, err)
	must(t, owners.Write(s.inner.Home, id, plan))
	some := plan.Files[:len(plan.Files)*n/4]
	for _, f := range some {
		must(t, owners.ApplyIn(dir, filepath.Dir(f.Path), []owners.File{f}))
	}
	must(t, s.Put(id))
	if s.backend == backend.Overlay {
		// A change was interrupted while it made a link.
		must(t, os.WriteFile(filepath.Join(s.inner.Home.Diff(id), owners.LinkName), nil, 0o600))
	}
	return len(some) > 0
}

// TestOwnersChangedAfterOtherThings changes files, each in one respect, before it changes the owners. The files still count as changed.
func TestOwnersChangedAfterOtherThings(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "mapped")
		base := s.inner.Home.Diff("base")
		write(t, base, files{"same": "x", "size": "x", "time": "x", "mode": "x", "owner": "x", "kind": "x"})
		must(t, os.Symlink("aa", filepath.Join(base, "target")))
		must(t, unix.Mknod(filepath.Join(base, "device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		// All times are the same and in whole seconds, because aufs cuts off the rest of a time that it is given.
		age := func(dir string, names ...string) {
			for _, name := range names {
				must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, name), []unix.Timespec{{Sec: 7}, {Sec: 7}}, unix.AT_SYMLINK_NOFOLLOW))
			}
		}
		age(base, readTree(t, base).Names()...)
		s.change(t, "mapped", func(dir string) {
			path := func(name string) string { return filepath.Join(dir, name) }
			must(t, appendTo(path("size"), "y"))
			must(t, errors.Join(os.Remove(path("kind")), os.Symlink("x", path("kind"))))
			must(t, errors.Join(os.Remove(path("target")), os.Symlink("bb", path("target"))))
			must(t, errors.Join(os.Remove(path("device")), unix.Mknod(path("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5)))))
			age(dir, "size", "kind", "target", "device")
			must(t, os.Chtimes(path("time"), time.Unix(1, 0), time.Unix(1, 0)))
			must(t, os.Chmod(path("mode"), 0o600))
			must(t, os.Lchown(path("owner"), 5, 5))
		})
		must(t, s.UpdateLayerIDMap("mapped", noMaps, fewIDs, ""))
		sameNames(t, s.mappedChanges(t, "mapped", "base", fewIDs),
			"C /size", "C /time", "C /mode", "C /owner", "C /kind", "C /target", "C /device")
	})
}

// TestOwnersOfReplacedFiles cuts a change of owners short, and replaces files before it makes the change again: the new files stay as they
// are.
func TestOwnersOfReplacedFiles(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "mapped")
		base := s.inner.Home.Diff("base")
		write(t, base, files{"a": "a", "f": "f"})
		must(t, os.Link(filepath.Join(base, "a"), filepath.Join(base, "b")))
		s.cutShort(t, "mapped", 0)
		s.change(t, "mapped", func(dir string) {
			for _, name := range []string{"b", "f"} {
				must(t, os.Remove(filepath.Join(dir, name)))
				write(t, dir, files{name: "new"})
				must(t, os.Lchown(filepath.Join(dir, name), 7, 7))
			}
		})
		must(t, s.UpdateLayerIDMap("mapped", noMaps, twoRanges, ""))
		seen := s.seeOwned(t, "mapped", noMaps)
		for name, want := range map[string][2]int{"a": {100_000, 1}, "b": {7, 3}, "f": {7, 3}} {
			if e := seen[name]; int(e.UID) != want[0] || int(e.Size) != want[1] {
				t.Errorf("%s belongs to %d, and has %d bytes", name, e.UID, e.Size)
			}
		}
		must(t, s.Remove("mapped"))
		noLeftovers(t, s)
	})
}

// TestWriteRightAfterAChangeOfOwners changes only the content of a file, in the moment after its owner was changed: the file counts as
// changed.
func TestWriteRightAfterAChangeOfOwners(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"same": "same"})
		for range 20 {
			s.create(t, "base", "mapped")
			must(t, s.UpdateLayerIDMap("mapped", noMaps, fewIDs, ""))
			path := filepath.Join(s.inner.Home.Diff("mapped"), "same")
			info, err := os.Lstat(path)
			must(t, err)
			must(t, os.WriteFile(path, []byte("emas"), 0o644))
			must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
			sameNames(t, s.mappedChanges(t, "mapped", "base", fewIDs), "C /same")
			must(t, s.Remove("mapped"))
		}
	})
}

// TestChangeOfOwnersWaitsForTheClock gives a change of owners a time that the clock of the layer's file system has yet to reach: PassTime
// waits for that.
func TestChangeOfOwnersWaitsForTheClock(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		must(t, s.UpdateLayerIDMap("base", noMaps, fewIDs, ""))
		until := time.Now().Add(200 * time.Millisecond)
		must(t, os.Chtimes(s.inner.Home.Overlay(store.OwnersDir, "base"), until, until))
		must(t, owners.PassTime(s.inner.Home, "base"))
		if now := time.Now(); now.Before(until) {
			t.Errorf("%v is before %v", now, until)
		}
		must(t, os.Remove(s.inner.Home.Overlay(store.OwnersDir, "base")))
		must(t, owners.PassTime(s.inner.Home, "base"))
	})
}
