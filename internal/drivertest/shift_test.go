//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	graphdriver "github.com/containers/storage/drivers"
	overlaydriver "github.com/containers/storage/drivers/overlay"
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/store"
	trees "github.com/seed-642172e2/aufs/internal/listing"
	"golang.org/x/sys/unix"
)

// withAuto lets aufs mount shifted layers by overlayfs.
func withAuto(c *driver.Config) {
	if c.Backend == backend.Aufs {
		c.Backend = backend.Auto
	}
}

// onShifting runs test on each backend that can shift owners.
func onShifting(t *testing.T, test func(t *testing.T, s testStore)) {
	t.Helper()
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		if !hasBackend(t, backend.Overlay) {
			t.Skip("owners are shifted by overlayfs")
		}
		s := newStore(t, name, withAuto)
		if s.inner.Backend.Name() != name {
			t.Fatalf("backend %s", s.inner.Backend.Name())
		}
		if !s.SupportsShifting(nil) {
			t.Skip("this kernel, or the file system of the test, does not shift owners")
		}
		test(t, s)
	})
}

// theirMaps returns the maps as the library has them.
func theirMaps(list []idmap.Map) (maps []idtools.IDMap) {
	for _, m := range list {
		maps = append(maps, idtools.IDMap(m))
	}
	return maps
}

// tryShifted is Get with maps.
func (s testStore) tryShifted(id string, m *idmap.Mappings, options ...string) (string, error) {
	return s.Get(id, driver.GetOptions{Options: options, IDs: shift.Request{Maps: m}})
}

func (s testStore) getShifted(t *testing.T, id string, m *idmap.Mappings, options ...string) string {
	t.Helper()
	dir, err := s.tryShifted(id, m, options...)
	must(t, err)
	return dir
}

// seeShifted returns the ownedTree of a mount with maps.
func (s testStore) seeShifted(t *testing.T, id string, m *idmap.Mappings, options ...string) map[string]trees.Entry {
	t.Helper()
	tr := ownedTree(t, s.getShifted(t, id, m, options...), noMaps)
	must(t, s.Put(id))
	return tr
}

// ownedImage makes an image of two layers, owned and top, in which files of each kind have owners of their own.
func ownedImage(t *testing.T, s testStore) {
	t.Helper()
	ids := func(n int) (uid, gid int) { return n, n + 100 }
	uid := 0
	header := func(h tar.Header, content string) member {
		uid++
		h.Uid, h.Gid = ids(uid)
		h.Mode |= 0o640
		h.ModTime = time.Unix(1_000_000_000+int64(uid), 0)
		h.Size = int64(len(content))
		return member(h)
	}
	dir := func(name string) member {
		return header(tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o111}, "")
	}
	file := func(name, content string) member {
		return header(tar.Header{Name: name, Typeflag: tar.TypeReg}, content)
	}
	lower := []member{
		dir("d/"), dir("d/sub/"), file("d/f", "content"), file("d/empty", ""), file("d/truncated", "shorter, soon"), file("d/sub/f", "content"),
		header(tar.Header{Name: "d/link", Typeflag: tar.TypeSymlink, Linkname: "f"}, ""),
		header(tar.Header{Name: "d/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""),
		header(tar.Header{Name: "d/fifo", Typeflag: tar.TypeFifo}, ""),
		file("d/one", "linked"), header(tar.Header{Name: "d/two", Typeflag: tar.TypeLink, Linkname: "d/one"}, ""),
		dir("opaque/"), file("opaque/hidden", "hidden"), file("gone", "gone"), file("plain", "plain"), dir("empty/"), file("nobody", "x"),
	}
	uid = 500
	top := []member{
		dir("d/"), dir("d/sub/"), dir("opaque/"), file("opaque/.wh..wh..opq", ""), file("opaque/new", "new"), file(".wh.gone", ""), file("d/sub/.wh.f", ""), file("d/sub/g", "g"),
	}
	s.create(t, "", "owned", "top")
	_, err := s.ApplyDiff("owned", "", driver.ApplyOptions{Diff: packedReader(t, lower...)})
	must(t, err)
	_, err = s.ApplyDiff("top", "owned", driver.ApplyOptions{Diff: packedReader(t, top...)})
	must(t, err)
}

// ownAsContainer gives a file that a test has made to the owner that a container's process would have made it with.
func ownAsContainer(t *testing.T, m *idmap.Mappings, paths ...string) {
	t.Helper()
	for _, path := range paths {
		must(t, os.Lchown(path, int(onHost(0, m)), int(onHost(0, m))))
	}
}

// editOwned changes something of each kind in a container on an ownedImage.
func editOwned(t *testing.T, dir string, m *idmap.Mappings) {
	t.Helper()
	in := func(name string) string { return filepath.Join(dir, name) }
	at := time.Unix(1_500_000_000, 0)
	must(t, os.Chtimes(in("d/empty"), at, at))
	must(t, os.Truncate(in("d/truncated"), 0))
	must(t, appendTo(in("d/f"), "more"))
	must(t, os.Chmod(in("d/sub"), 0o700))
	must(t, os.Chmod(in("d/null"), 0o600))
	must(t, os.Chmod(in("d/fifo"), 0o600))
	must(t, os.Link(in("d/link"), in("d/link2")))
	must(t, os.Rename(in("plain"), in("d/renamed")))
	must(t, os.Remove(in("d/sub/g")))
	must(t, os.RemoveAll(in("opaque")))
	write(t, dir, files{"opaque/": "", "opaque/mine": "mine", "empty/mine": "mine"})
	ownAsContainer(t, m, in("opaque"), in("opaque/mine"), in("empty/mine"))
	must(t, os.Lchown(in("nobody"), int(onHost(7, m)), int(onHost(8, m))))
	for _, name := range []string{"d/truncated", "d/f", "opaque/mine", "empty/mine", "d/sub", "d", "opaque", "empty", "."} {
		must(t, os.Chtimes(in(name), at, at))
	}
}

// theirOverlay returns the library's overlay driver with the layers of s and a container.
func theirOverlay(t *testing.T, s testStore, container string, layers ...string) graphdriver.Driver {
	t.Helper()
	root := t.TempDir()
	d, err := overlaydriver.Init(filepath.Join(root, "overlay"), graphdriver.Options{Root: root, RunRoot: filepath.Join(root, "run")})
	must(t, err)
	t.Cleanup(func() { must(t, d.Cleanup()) })
	parent := ""
	for _, id := range layers {
		must(t, d.Create(id, parent, nil))
		r, err := s.Diff(id, nil, parent, nil)
		must(t, err)
		_, err = d.ApplyDiff(id, parent, graphdriver.ApplyDiffOpts{Diff: r, Mappings: &idtools.IDMappings{}})
		must(t, errors.Join(err, r.Close()))
		parent = id
	}
	must(t, d.CreateReadWrite(container, parent, nil))
	if !d.SupportsShifting(nil, nil) {
		t.Fatal("the overlay driver does not shift")
	}
	return d
}

// TestShiftedAsByTheOverlayDriver mounts a container with maps, by this driver and by the library's overlay driver: each file has the same owner,
// at first, after a change of it, and in the next mount.
func TestShiftedAsByTheOverlayDriver(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		theirs := theirOverlay(t, s, "box", "owned", "top")
		must(t, s.CreateReadWrite("box", "top", nil))
		m := twoRanges
		same := func(what, own, other string) {
			t.Helper()
			for path, e := range sameOwners(t, what, own, other) {
				if e.UID < 100_000 || e.GID < 100_000 {
					t.Errorf("%s: %s belongs to %d:%d", what, path, e.UID, e.GID)
				}
			}
		}
		own, other := s.getBoth(t, theirs, m)
		same("new", own, other)
		if got := statInside(t, own, m, "d/f"); got != "3:103" {
			t.Errorf("inside, d/f belongs to %s", got)
		}
		editOwned(t, own, m)
		editOwned(t, other, m)
		same("edited", own, other)
		must(t, errors.Join(s.Put("box"), theirs.Put("box")))
		own, other = s.getBoth(t, theirs, m)
		same("again", own, other)
		must(t, errors.Join(s.Put("box"), theirs.Put("box")))
		noLeftovers(t, s)
		if problems := s.rawOwners(t, "owned", "top"); len(problems) > 0 {
			t.Errorf("owners on the disk were changed: %v", problems)
		}
	})
}

// rawOwners returns files of layers whose owners are not those of the archives.
func (s testStore) rawOwners(t *testing.T, ids ...string) (changed []string) {
	t.Helper()
	for _, id := range ids {
		for path, e := range ownedTree(t, s.inner.Home.Diff(id), noMaps) {
			if e.UID >= 100_000 || e.GID >= 100_000 {
				changed = append(changed, id+"/"+path)
			}
		}
	}
	return changed
}

// statInside returns the owner of a file as a process in a user namespace with these maps sees it.
func statInside(t *testing.T, dir string, m *idmap.Mappings, name string) string {
	t.Helper()
	list := func(maps []idmap.Map) (to []syscall.SysProcIDMap) {
		for _, r := range maps {
			to = append(to, syscall.SysProcIDMap{ContainerID: r.ContainerID, HostID: r.HostID, Size: r.Size})
		}
		return to
	}
	cmd := exec.Command("stat", "-c", "%u:%g", name)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: list(m.UIDs), GidMappings: list(m.GIDs)}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestShiftedDiff shows that the archive, the changes and the size of a shifted container are those of one that is not shifted, whether the
// library knows the maps or not.
func TestShiftedDiff(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		for _, id := range []string{"plain", "box"} {
			must(t, s.CreateReadWrite(id, "top", nil))
		}
		must(t, errors.Join(func() error { editOwned(t, s.get(t, "plain"), noMaps); return s.Put("plain") }()))
		editOwned(t, s.getShifted(t, "box", twoRanges), twoRanges)
		for _, mounted := range []bool{true, false} {
			if !mounted {
				must(t, s.Put("box"))
			}
			for what, given := range map[string]*idmap.Mappings{"none": nil, "empty": noMaps, "the maps": twoRanges} {
				t.Run(fmt.Sprintf("%s, mounted=%v", what, mounted), func(t *testing.T) {
					want, err := s.Diff("plain", nil, "top", nil)
					must(t, err)
					got, err := s.Diff("box", given, "top", nil)
					must(t, err)
					a, b := readArchive(t, want), readArchive(t, got)
					sameNames(t, keysOf(b), keysOf(a)...)
					for name, h := range a {
						if is := b[name]; is != nil && (is.Uid != h.Uid || is.Gid != h.Gid || is.Mode != h.Mode || is.Size != h.Size || is.Typeflag != h.Typeflag) {
							t.Errorf("%s is %v and not %v", name, is, h)
						}
					}
					must(t, errors.Join(want.Close(), got.Close()))
					before, err := s.Changes("plain", nil, "top", nil)
					must(t, err)
					after, err := s.Changes("box", given, "top", nil)
					must(t, err)
					if !slices.Equal(before, after) {
						t.Errorf("the changes are\n%v and not\n%v", after, before)
					}
					x, err := s.DiffSize("plain", nil, "top", nil)
					must(t, err)
					if y, err := s.DiffSize("box", given, "top", nil); err != nil || x != y {
						t.Errorf("the size is %d and not %d, %v", y, x, err)
					}
				})
			}
		}
	})
}

// TestShiftedRootOfHost archives a file in a shifted container that belongs to the root of the host, as the mount points do that some programs
// make: it belongs to the container's root.
func TestShiftedRootOfHost(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		dir := s.getShifted(t, "box", fewIDs)
		write(t, dir, files{"hosts": "", "others": ""})
		must(t, os.Lchown(filepath.Join(dir, "others"), 1, 100_001))
		must(t, s.Put("box"))
		headers := s.diff(t, "box", "top")
		if h := headers["hosts"]; h == nil || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%v", h)
		}
		if h := headers["others"]; h == nil || h.Uid != idmap.Overflow || h.Gid != 1 {
			t.Errorf("%v", h)
		}
	})
}

// TestApplyToShifted applies an archive to a shifted container. Its files belong to ids of the container.
func TestApplyToShifted(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		dir := s.getShifted(t, "box", twoRanges)
		ownAsContainer(t, twoRanges, dir)
		must(t, s.Put("box"))
		for _, name := range []string{"first", "second"} {
			_, err := s.ApplyDiff("box", "top", driver.ApplyOptions{Diff: packedReader(t, member{Name: name, Typeflag: tar.TypeReg, Uid: 5, Gid: 6})})
			must(t, err)
		}
		seen := s.seeShifted(t, "box", twoRanges)
		for _, name := range []string{"first", "second"} {
			if e := seen[name]; e.UID != 100_005 || e.GID != 100_006 {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if h := s.diff(t, "box", "top")["second"]; h == nil || h.Uid != 5 || h.Gid != 6 {
			t.Errorf("%v", h)
		}
	})
}

// TestNeverShiftedTwice mounts layers whose owners UpdateLayerIDMap has changed, by this version or by one without records. They show these
// owners, and not other ones.
func TestNeverShiftedTwice(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		for _, records := range []bool{true, false} {
			t.Run(fmt.Sprintf("records=%v", records), func(t *testing.T) {
				id := func(name string) string { return fmt.Sprintf("%s-%v", name, records) }
				// The library makes such a layer for the image, and containers on top of it.
				s.create(t, "top", id("mapped"))
				must(t, s.UpdateLayerIDMap(id("mapped"), noMaps, twoRanges, ""))
				must(t, s.CreateReadWrite(id("box"), id("mapped"), nil))
				// The image is in another store: the container's own layer was changed.
				must(t, s.CreateReadWrite(id("own"), "top", nil))
				must(t, s.UpdateLayerIDMap(id("own"), noMaps, twoRanges, ""))
				if !records {
					must(t, os.RemoveAll(s.inner.Home.Overlay("ids")))
				}
				for _, box := range []string{id("box"), id("own")} {
					want := s.seeOwned(t, box, noMaps)
					sameEntries(t, box, s.seeShifted(t, box, twoRanges), want)
					sameEntries(t, box+" ro", s.seeShifted(t, box, twoRanges, "ro"), want)
					if e := want["d/f"]; e.UID != 100_003 {
						t.Errorf("%+v", e)
					}
					dir := s.getShifted(t, box, twoRanges)
					must(t, appendTo(filepath.Join(dir, "d/f"), "more"))
					// The container changes the owner of its root directory.
					must(t, os.Lchown(dir, 100_009, 100_009))
					must(t, s.Put(box))
					seen := s.seeShifted(t, box, twoRanges)
					if seen["d/f"].UID != 100_003 || seen["d/one"].UID != want["d/one"].UID || seen["."].UID != 100_009 {
						t.Errorf("%s: %+v %+v %+v", box, seen["d/f"], seen["d/one"], seen["."])
					}
				}
				if _, err := s.tryShifted(id("box"), fewIDs); records {
					wants(t, err, shift.ErrOtherMaps, id("box"), id("mapped"))
				}
			})
		}
	})
}

// TestMapsOfChangedLayers mounts layers whose owners were changed, with maps that nothing has to be shifted for. Newer versions of the library
// always ask for the maps of the container, also if SupportsShifting has returned false.
func TestMapsOfChangedLayers(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, m := range map[string]*idmap.Mappings{
			"two ranges": twoRanges, "groups only": {GIDs: twoRanges.GIDs}, "users only": {UIDs: twoRanges.UIDs},
			"root is root": idMaps(idmap.Map{Size: 1}, idmap.Map{ContainerID: 1, HostID: 100_001, Size: 70_000}),
		} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				ownedImage(t, s)
				s.create(t, "top", "mapped")
				must(t, s.UpdateLayerIDMap("mapped", noMaps, m, ""))
				must(t, s.CreateReadWrite("box", "mapped", nil))
				// A container without an image has no owners to shift.
				must(t, s.Create("scratch", "", &driver.CreateOptions{IDMappings: m}))
				for _, records := range []bool{true, false} {
					if !records {
						must(t, os.RemoveAll(s.inner.Home.Overlay(store.IDsDir)))
					}
					want := s.seeOwned(t, "box", noMaps)
					if e := want["d/f"]; e.UID != onHost(3, m) || e.GID != onHostGroup(103, m) {
						t.Errorf("%+v", e)
					}
					sameEntries(t, "box", s.seeShifted(t, "box", m), want)
					s.change(t, "box", func(dir string) { write(t, dir, files{"mine": "mine"}) })
					want = s.seeOwned(t, "box", noMaps)
					sameEntries(t, "box again", s.seeShifted(t, "box", m), want)
					sameEntries(t, "box ro", s.seeShifted(t, "box", m, "ro"), want)
				}
				if what == "two ranges" || what == "root is root" {
					s.seeShifted(t, "scratch", m)
				}
			})
		}
	})
}

// onHostGroup is onHost for a group.
func onHostGroup(id uint32, m *idmap.Mappings) uint32 {
	return onHost(id, &idmap.Mappings{UIDs: m.GIDs})
}

// TestShiftedAfterChangeBack shifts a layer whose owners were changed back to ids in a container.
func TestShiftedAfterChangeBack(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		s.create(t, "top", "mapped")
		must(t, s.UpdateLayerIDMap("mapped", noMaps, fewIDs, ""))
		must(t, s.UpdateLayerIDMap("mapped", fewIDs, noMaps, ""))
		must(t, s.CreateReadWrite("box", "mapped", nil))
		must(t, s.CreateReadWrite("plain", "top", nil))
		got, want := s.seeShifted(t, "box", twoRanges), s.seeShifted(t, "plain", twoRanges)
		for _, tr := range []map[string]trees.Entry{got, want} {
			root := tr["."]
			root.Mtime = 0
			tr["."] = root
		}
		sameEntries(t, "box", got, want)
	})
}

// TestPulledWithMaps mounts a container with maps whose image was pulled with the same maps before mounts could shift ids. The library has its
// owners changed back, which leaves copies of the image's files in the container's layer.
func TestPulledWithMaps(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		must(t, s.Create("image", "", &driver.CreateOptions{IDMappings: fewIDs}))
		must2(t)(s.ApplyDiff("image", "", driver.ApplyOptions{Mappings: fewIDs, Diff: packedReader(t, member{Name: "f", Typeflag: tar.TypeReg, Uid: 5, Gid: 6})}))
		must(t, s.CreateReadWrite("box", "image", nil))
		must(t, s.UpdateLayerIDMap("box", fewIDs, noMaps, ""))
		_, err := s.tryShifted("box", fewIDs)
		wants(t, err, shift.ErrOtherMaps, "mounting layer box", "the file f was made without these id maps")
		must(t, s.CreateReadWrite("unchanged", "image", nil))
		if e := s.seeShifted(t, "unchanged", fewIDs)["f"]; e.UID != 100_005 || e.GID != 100_006 {
			t.Errorf("%+v", e)
		}
	})
}

// TestDisableShifting asks for a mount with maps that must not be shifted, as the library does if SupportsShifting has returned false.
func TestDisableShifting(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name, withAuto)
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		want := s.seeOwned(t, "box", noMaps)
		overlapping := idMaps(idmap.Map{HostID: 5, Size: 5}, idmap.Map{HostID: 6, Size: 5})
		for _, m := range []*idmap.Mappings{twoRanges, overlapping, {UIDs: twoRanges.UIDs}} {
			dir, err := s.Get("box", driver.GetOptions{IDs: shift.Request{Maps: m, Disabled: true}})
			must(t, err)
			sameEntries(t, "box", ownedTree(t, dir, noMaps), want)
			must(t, s.Put("box"))
		}
	})
}

// TestBadMaps mounts a layer with invalid maps.
func TestBadMaps(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		good := twoRanges.UIDs
		for what, m := range map[string]*idmap.Mappings{
			"overlap":   idMaps(idmap.Map{HostID: 100_000, Size: 10}, idmap.Map{ContainerID: 10, HostID: 100_009, Size: 10}),
			"empty":     idMaps(idmap.Map{HostID: 100_000}),
			"no groups": {UIDs: good},
			"no users":  {GIDs: good},
			"root":      idMaps(idmap.Map{ContainerID: 1, HostID: 100_000, Size: 10}),
		} {
			_, err := s.tryShifted("box", m)
			wants(t, err, nil, "mounting layer box", what)
			if s.SupportsShifting(m) {
				t.Errorf("%s: the driver supports it", what)
			}
		}
		for _, m := range []*idmap.Mappings{nil, noMaps, twoRanges, fewIDs} {
			if !s.SupportsShifting(m) {
				t.Errorf("%v is not supported", m)
			}
		}
		noMounts(t, s.inner.Home.Mnt(""))
		noLeftovers(t, s)
		// Nothing was recorded.
		if e := s.seeOwned(t, "box", noMaps)["d/f"]; e.UID != 3 {
			t.Errorf("%+v", e)
		}
	})
}

// TestOtherMaps mounts a shifted layer with other maps than before.
func TestOtherMaps(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		// A layer that nobody has written to can be mounted with any maps.
		if e := s.seeShifted(t, "box", fewIDs)["."]; e.UID != 100_000 {
			t.Errorf("%+v", e)
		}
		other := idMaps(idmap.Map{HostID: 300_000, Size: 5000})
		if e := s.seeShifted(t, "box", other)["."]; e.UID != 300_000 {
			t.Errorf("%+v", e)
		}
		dir := s.getShifted(t, "box", other)
		_, err := s.tryShifted("box", fewIDs)
		wants(t, err, shift.ErrOtherMaps, "mounting layer box", "mounted already")
		again := s.getShifted(t, "box", other)
		if again != dir {
			t.Errorf("%s, %s", dir, again)
		}
		must(t, s.Put("box"))
		write(t, dir, files{"mine": "mine"})
		ownAsContainer(t, other, filepath.Join(dir, "mine"))
		must(t, s.Put("box"))
		noMounts(t, s.inner.Home.Mnt(""))
		for _, options := range []string{"", "ro"} {
			_, err := s.tryShifted("box", fewIDs, options)
			wants(t, err, shift.ErrOtherMaps, "mounting layer box")
		}
		_, err = s.Get("box", driver.GetOptions{IDs: shift.Request{Maps: other, Disabled: true}})
		wants(t, err, shift.ErrNoShifting, "mounting layer box")
		err = s.UpdateLayerIDMap("box", noMaps, fewIDs, "")
		wants(t, err, shift.ErrNoShifting, "changing the owners in layer box")
		// Without maps, the mount has those of the layer.
		if seen := s.seeOwned(t, "box", noMaps); seen["mine"].UID != 300_000 || seen["d/f"].UID != 300_003 {
			t.Errorf("%+v, %+v", seen["mine"], seen["d/f"])
		}
		// A layer with files of its own cannot begin to be shifted.
		must(t, s.CreateReadWrite("written", "top", nil))
		s.change(t, "written", func(dir string) { write(t, dir, files{"mine": "mine"}) })
		_, err = s.tryShifted("written", other)
		wants(t, err, shift.ErrOtherMaps, "mounting layer written", "diff/written", "mine")
	})
}

// editedBox makes the container box on ownedImage, and edits it as its processes do.
func editedBox(t *testing.T, s testStore) {
	t.Helper()
	ownedImage(t, s)
	must(t, s.CreateReadWrite("box", "top", nil))
	editOwned(t, s.getShifted(t, "box", twoRanges), twoRanges)
	must(t, s.Put("box"))
}

// TestShiftedReadOnly mounts image layers read-only with maps, and a container.
func TestShiftedReadOnly(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		editedBox(t, s)
		want := s.seeShifted(t, "box", twoRanges)
		sameEntries(t, "box", s.seeShifted(t, "box", twoRanges, "ro"), want)
		for _, id := range []string{"top", "owned"} {
			raw := ownedTree(t, s.get(t, id, "ro"), twoRanges)
			must(t, s.Put(id))
			sameEntries(t, id, s.seeShifted(t, id, twoRanges, "ro"), raw)
			dir := s.getShifted(t, id, twoRanges, "ro")
			_, err := s.tryShifted(id, fewIDs, "ro")
			if id == "owned" {
				// Both maps give the root directory the same owner: only it is compared.
				must(t, err)
				must(t, s.Put(id))
			}
			_, err = s.tryShifted(id, idMaps(idmap.Map{HostID: 300_000, Size: 5000}), "ro")
			wants(t, err, shift.ErrOtherMaps, "mounting layer "+id)
			if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err == nil {
				t.Error("it can be written to")
			}
			must(t, s.Put(id))
			for mounted := true; mounted; {
				must(t, s.Put(id))
				var err error
				mounted, err = mountutil.IsMounted(s.inner.Home.Mnt(id))
				must(t, err)
			}
		}
		if got := s.rawOwners(t, "owned", "top"); len(got) > 0 {
			t.Errorf("%v", got)
		}
		noLeftovers(t, s)
	})
}

// TestShiftedBase mounts a container without an image.
func TestShiftedBase(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		must(t, s.CreateReadWrite("box", "", nil))
		dir := s.getShifted(t, "box", twoRanges)
		write(t, dir, files{"f": "f"})
		ownAsContainer(t, twoRanges, filepath.Join(dir, "f"))
		must(t, s.Put("box"))
		for _, options := range []string{"", "nodev", "ro"} {
			if seen := s.seeShifted(t, "box", twoRanges, options); seen["."].UID != 100_000 || seen["f"].UID != 100_000 {
				t.Errorf("%q: %v", options, seen)
			}
		}
		if h := s.diff(t, "box", "")["f"]; h == nil || h.Uid != 0 {
			t.Errorf("%v", h)
		}
	})
}

// TestShiftedAncestor makes layers on top of a shifted container, as a template for others.
func TestShiftedAncestor(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		editedBox(t, s)
		want := s.seeShifted(t, "box", twoRanges)
		must(t, s.CreateFromTemplate("copy", "box", nil, true))
		root := want["."]
		for _, m := range []*idmap.Mappings{nil, twoRanges} {
			got := s.seeShifted(t, "copy", m)
			root.Mtime, root.Mode = got["."].Mtime, got["."].Mode
			want["."] = root
			sameEntries(t, "copy", got, want)
		}
		dir := s.getShifted(t, "copy", twoRanges)
		write(t, dir, files{"mine": "mine"})
		ownAsContainer(t, twoRanges, filepath.Join(dir, "mine"))
		must(t, s.Put("copy"))
		headers := s.diff(t, "copy", "box")
		if h := headers["mine"]; h == nil || h.Uid != 0 || len(headers) != 1 {
			t.Errorf("%v", headers)
		}
	})
}

// TestStagedForShifted commits unpacked files to layers with the owners of id maps. Files with other owners are refused, and the layer stays empty.
func TestStagedForShifted(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		s.seeShifted(t, "box", twoRanges)
		s.create(t, "box", "copy")
		stage := func(parent string, m *idmap.Mappings) string {
			options := driver.ApplyOptions{Mappings: m, Diff: packedReader(t, member{Name: "new", Typeflag: tar.TypeReg, Uid: 5, Gid: 6})}
			target, _, err := s.StageLayer(parent, options)
			must(t, err)
			return target
		}
		for id, parent := range map[string]string{"box": "top", "copy": "box"} {
			for _, given := range []*idmap.Mappings{nil, fewIDs} {
				wants(t, s.CommitLayer(id, stage(parent, given)), nil, "committing a staged layer to layer "+id, "id maps")
			}
			target, err := s.Stage(nil, func(target, _ string) error { return os.WriteFile(filepath.Join(target, "x"), nil, 0o600) })
			must(t, err)
			wants(t, s.ApplyStaged(id, parent, target, false), nil, "applying a staging directory to layer "+id, "id maps")
			must(t, s.CleanupStagingDirectory(target))
			if _, ok := s.seeShifted(t, id, nil)["new"]; ok {
				t.Errorf("%s has a file", id)
			}
		}
		must(t, s.CreateReadWrite("other", "top", nil))
		s.seeShifted(t, "other", twoRanges)
		must(t, s.CommitLayer("other", stage("top", twoRanges)))
		if e := s.seeShifted(t, "other", nil)["new"]; e.UID != 100_005 || e.GID != 100_006 {
			t.Errorf("%+v", e)
		}
		noLeftovers(t, s)
	})
}

// TestNewOnShifted uses layers on top of a shifted container before they are first mounted, when they have no records of their own.
func TestNewOnShifted(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		editedBox(t, s)
		s.create(t, "box", "copy", "second")
		for _, id := range []string{"copy", "second"} {
			if m, err := s.OnDisk(id, nil); err != nil || !m.Equal(twoRanges) {
				t.Errorf("%s: %v, %v", id, m, err)
			}
			if m, err := s.OnDisk(id, fewIDs); err != nil || !m.Equal(fewIDs) {
				t.Errorf("%s: %v, %v", id, m, err)
			}
		}
		if m, err := s.OnDisk("none", nil); err != nil || !m.Empty() {
			t.Errorf("%v, %v", m, err)
		}
		if headers := s.diff(t, "copy", "box"); len(headers) > 0 {
			t.Errorf("%v", headers)
		}
		must2(t)(s.ApplyDiff("second", "copy", driver.ApplyOptions{Diff: packedReader(t, member{Name: "new", Typeflag: tar.TypeReg, Uid: 5, Gid: 6})}))
		if h := s.diff(t, "second", "copy")["new"]; h == nil || h.Uid != 5 || h.Gid != 6 {
			t.Errorf("%v", h)
		}
		for _, options := range []string{"ro", ""} {
			seen := s.seeShifted(t, "second", nil, options)
			if e := seen["new"]; e.UID != 100_005 || e.GID != 100_006 || seen["d/f"].UID != 100_003 {
				t.Errorf("%q: %+v %+v", options, e, seen["d/f"])
			}
		}
		// A layer of an image has ids inside, and so has one on top of it.
		s.create(t, "top", "image")
		if m, err := s.OnDisk("image", nil); err != nil || !m.Empty() {
			t.Errorf("%v, %v", m, err)
		}
	})
}

// TestNoShifting opens a store with a shifted container where owners cannot be shifted. The container is not mounted with wrong owners.
func TestNoShifting(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		editedBox(t, s)
		for _, id := range []string{"other", "raw"} {
			must(t, s.CreateReadWrite(id, "top", nil))
		}
		s.inner.Library.UserNamespace = func(*idmap.Mappings) (*os.File, error) { return nil, errors.New("no way") }
		s.inner.Shifting = s.inner.OpenShifting(backend.Auto)
		s.hasNoShifting(t)
		if s.backend == backend.Aufs {
			strict := openStore(t, string(s.inner.Home), backend.Aufs)
			strict.hasNoShifting(t)
			_, err := strict.tryShifted("raw", twoRanges)
			wants(t, err, shift.ErrNoShifting, "layer raw", "backend=aufs")
		}
	})
}

// TestShiftingDisabled disables shifting in the way of the library's overlay driver.
func TestShiftingDisabled(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		before := s.SupportsShifting(nil)
		for value, want := range map[string]bool{"yes": false, "no": before} {
			t.Setenv("_CONTAINERS_OVERLAY_DISABLE_IDMAP", value)
			if s.SupportsShifting(nil) != want || s.SupportsShifting(twoRanges) != want {
				t.Errorf("%q: the driver shifts: %v", value, !want)
			}
			if status := [2]string{"Supports shifting", strconv.FormatBool(want)}; !slices.Contains(s.Status(), status) {
				t.Errorf("%q: %v", value, s.Status())
			}
		}
	})
}

func (s testStore) hasNoShifting(t *testing.T) {
	t.Helper()
	if s.SupportsShifting(nil) || s.SupportsShifting(twoRanges) {
		t.Error("the driver shifts")
	}
	if !slices.Contains(s.Status(), [2]string{"Supports shifting", "false"}) {
		t.Errorf("%v", s.Status())
	}
	for _, m := range []*idmap.Mappings{nil, twoRanges} {
		for _, options := range []string{"", "ro"} {
			_, err := s.tryShifted("box", m, options)
			wants(t, err, shift.ErrNoShifting, "mounting layer box")
		}
	}
	_, err := s.tryShifted("other", twoRanges)
	wants(t, err, shift.ErrNoShifting, "mounting layer other")
	// The failure has left nothing, and the layer can be mounted as it is.
	if e := s.seeOwned(t, "other", noMaps)["d/f"]; e.UID != 3 {
		t.Errorf("%+v", e)
	}
	// The container can still be archived.
	if h := s.diff(t, "box", "top")["d/f"]; h == nil || h.Uid != 3 {
		t.Errorf("%v", h)
	}
	noMounts(t, s.inner.Home.Mnt(""))
}

// TestShiftedDeep shifts a stack of so many layers that their paths do not fit into one call of mount(2). Each layer has a whiteout.
func TestShiftedDeep(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		parent := "top"
		for n := range 60 {
			id := fmt.Sprintf("%064d", n)
			s.create(t, parent, id)
			must2(t)(s.ApplyDiff(id, parent, driver.ApplyOptions{Diff: packedReader(t,
				member{Name: fmt.Sprintf("f%d", n), Typeflag: tar.TypeReg, Uid: n, Gid: n},
				member{Name: fmt.Sprintf(".wh.f%d", n-1), Typeflag: tar.TypeReg},
				member{Name: "d/", Typeflag: tar.TypeDir, Uid: n, Gid: n, Mode: 0o700},
			)}))
			parent = id
		}
		must(t, s.CreateReadWrite("box", parent, nil))
		seen := s.seeShifted(t, "box", twoRanges)
		for path, uid := range map[string]uint32{"d": 100_059, "f59": 100_059, "d/f": 100_003, "empty": 100_016} {
			if seen[path].UID != uid {
				t.Errorf("%s: %+v", path, seen[path])
			}
		}
		if _, ok := seen["f58"]; ok {
			t.Error("f58 was deleted")
		}
	})
}

// must2 is must for a function with another result.
func must2(t *testing.T) func(int64, error) {
	return func(_ int64, err error) { t.Helper(); must(t, err) }
}

// TestShiftedTakesNoRoom shows that a shifted mount copies nothing.
func TestShiftedTakesNoRoom(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		s.seeShifted(t, "box", twoRanges)
		entries, err := os.ReadDir(s.inner.Home.Diff("box"))
		if err != nil || len(entries) > 0 {
			t.Errorf("%v, %v", entries, err)
		}
		usage, err := s.ReadWriteDiskUsage("box")
		if err != nil || usage.Size != 0 {
			t.Errorf("%+v, %v", usage, err)
		}
	})
}

// TestShiftedPeculiar shifts files of all peculiar kinds. Only their owners differ.
func TestShiftedPeculiar(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		peculiarImage(t, s)
		for _, id := range []string{"plain", "box"} {
			must(t, s.CreateReadWrite(id, "middle", nil))
		}
		got, want := s.seeShifted(t, "box", twoRanges), s.seeOwned(t, "plain", twoRanges)
		for _, tr := range []map[string]trees.Entry{got, want} {
			root := tr["."]
			root.Mtime = 0
			tr["."] = root
			// The kernel shows the capabilities with the id of the root for which they count.
			ping := tr["capabilitiesandattributes/ping"]
			ping.Xattrs = ""
			tr[ping.Path] = ping
		}
		sameEntries(t, "box", got, want)
		editPeculiar := func(dir string) {
			// Everything is copied up, and the directories with lists stay as they are.
			must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.Type()&(fs.ModeSymlink|fs.ModeDir) != 0 {
					return err
				}
				info, err := entry.Info()
				must(t, err)
				return os.Chtimes(path, info.ModTime(), info.ModTime())
			}))
			for _, list := range []string{"accesscontrollists/d", "accesscontrollists/d/new"} {
				info, err := os.Lstat(filepath.Join(dir, list))
				must(t, err)
				must(t, os.Chtimes(filepath.Join(dir, list), info.ModTime(), info.ModTime()))
			}
		}
		editPeculiar(s.getShifted(t, "box", twoRanges))
		editPeculiar(s.get(t, "plain", "acl"))
		must(t, errors.Join(s.Put("box"), s.Put("plain")))
		a, b := s.diff(t, "plain", "middle"), s.diff(t, "box", "middle")
		sameNames(t, keysOf(b), keysOf(a)...)
		lists := hasListsTwice(t, filepath.Join(s.inner.Home.Diff("middle"), "accesscontrollists/f"))
		for name, h := range a {
			if is := b[name]; lists && is != nil && strings.HasPrefix(name, "accesscontrollists/") {
				is.PAXRecords = h.PAXRecords
			}
			if is := b[name]; is != nil && (is.Uid != h.Uid || is.Gid != h.Gid || is.Mode != h.Mode || !maps.Equal(is.PAXRecords, h.PAXRecords)) {
				t.Errorf("%s is %v and not %v", name, is, h)
			}
		}
		before, err := s.Changes("plain", nil, "middle", nil)
		must(t, err)
		after, err := s.Changes("box", nil, "middle", nil)
		must(t, err)
		if lists {
			// A directory whose list has changed is among the changes.
			inLists := func(c layerdiff.Change) bool { return strings.HasPrefix(c.Path, "/accesscontrollists/") }
			before, after = slices.DeleteFunc(before, inLists), slices.DeleteFunc(after, inLists)
		}
		if !slices.Equal(before, after) {
			t.Errorf("the changes are\n%v and not\n%v", after, before)
		}
	})
}

// hasListsTwice reports whether the file system lists the access control list of a file a second time, as an attribute of its own, as xfs does.
// Overlayfs copies that one up as it is, over the shifted one.
func hasListsTwice(t *testing.T, file string) bool {
	t.Helper()
	names := make([]byte, 1000)
	n, err := unix.Llistxattr(file, names)
	must(t, err)
	return strings.Contains(string(names[:n]), "trusted.SGI_ACL_FILE")
}

// TestShiftedImageStore shifts layers of an additional image store, in which nothing changes.
func TestShiftedImageStore(t *testing.T) {
	onShifting(t, func(t *testing.T, own testStore) {
		image := newImageStore(t, t.TempDir(), own.backend, func(s testStore) { ownedImage(t, s) }, withAuto)
		s := newStore(t, own.backend, withImages(image), withAuto)
		must(t, s.CreateReadWrite("box", "top", nil))
		want := s.seeOwned(t, "top", twoRanges)
		sameEntries(t, "top", s.seeShifted(t, "top", twoRanges), want)
		sameEntries(t, "top, read-only", s.seeShifted(t, "top", twoRanges, "ro"), want)
		got := s.seeShifted(t, "box", twoRanges)
		root := want["."]
		root.Mtime = got["."].Mtime
		want["."] = root
		sameEntries(t, "box", got, want)
		image.unchanged(t)
	})
}

// TestShiftedImageLayersOnMounts shifts layers of an image store each of which is a mount of its own.
func TestShiftedImageLayersOnMounts(t *testing.T) {
	onShifting(t, func(t *testing.T, own testStore) {
		image := newImageStore(t, t.TempDir(), own.backend, func(s testStore) { ownedImage(t, s) }, withAuto)
		for _, id := range []string{"owned", "top"} {
			bind(t, image.home.Diff(id), image.home.Diff(id))
		}
		s := newStore(t, own.backend, withImages(image), withAuto)
		must(t, s.CreateReadWrite("box", "top", nil))
		if e := s.seeShifted(t, "box", twoRanges)["d/f"]; e.UID != 100_003 {
			t.Errorf("%+v", e)
		}
	})
}

// TestShiftedOnTwoDisks shifts layers while diff is a mount point, so that the shadows of layers are in diff as well.
func TestShiftedOnTwoDisks(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		home := filepath.Join(t.TempDir(), "home")
		mountPart(t, partKinds[2], home, "diff")
		s, err := reopen(home, s.backend, withAuto)
		must(t, err)
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		seen := s.seeShifted(t, "box", twoRanges)
		if seen["d/f"].UID != 100_003 || seen["opaque"].UID == 0 {
			t.Errorf("%+v", seen)
		}
		if _, ok := seen["opaque/hidden"]; ok {
			t.Error("a file that was replaced is shown")
		}
		must(t, s.Cleanup())
		unmountParts(t, home, "diff")
	})
}

// TestShiftedOverOldMount mounts a layer with maps while a mount without them is alive.
func TestShiftedOverOldMount(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		s.get(t, "box")
		_, err := s.tryShifted("box", twoRanges)
		wants(t, err, shift.ErrOtherMaps, "mounting layer box", "mounted already")
		must(t, s.Put("box"))
		noMounts(t, s.inner.Home.Mnt(""))
		s.seeShifted(t, "box", twoRanges)
	})
}

// refusesRecords writes each of texts to the record of the layer box, which was mounted with m. Neither a mount nor an archive takes it. In the
// end, the record is as before.
func (s testStore) refusesRecords(t *testing.T, m *idmap.Mappings, texts ...string) {
	t.Helper()
	path := s.inner.Home.Overlay(store.IDsDir, "box")
	good, err := os.ReadFile(path)
	must(t, err)
	for _, text := range texts {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		for _, given := range []*idmap.Mappings{nil, m} {
			_, err := s.tryShifted("box", given)
			wants(t, err, store.ErrDamaged, "mounting layer box", path)
			_, err = s.Diff("box", given, "top", nil)
			wants(t, err, store.ErrDamaged, "archiving layer box", path)
		}
	}
	must(t, os.WriteFile(path, good, 0o600))
}

// TestRecordOfOwners damages the record of a shifted layer.
func TestRecordOfOwners(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		s.seeShifted(t, "box", twoRanges)
		path := s.inner.Home.Overlay(store.IDsDir, "box")
		good, err := os.ReadFile(path)
		must(t, err)
		if want := "shifted\nuid 0:100000:1000\nuid 1000:200000:2000000000\ngid 0:100000:1000\ngid 1000:200000:2000000000\nend\n"; string(good) != want {
			t.Errorf("%q", good)
		}
		s.refusesRecords(t, twoRanges, "", "shifted", "else\n", "shifted\nuid 0:1\nend\n", "shifted\nuid 0:1:2 3\nend\n", "shifted\nxid 0:1:2\nend\n", "shifted\nend\n",
			string(good[:len(good)-2]))
		must(t, s.Remove("box"))
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v", err)
		}
		must(t, s.CreateReadWrite("box", "top", nil))
		if e := s.seeOwned(t, "box", noMaps)["d/f"]; e.UID != 3 {
			t.Errorf("%+v", e)
		}
	})
}

// TestShortRecordOfOwners cuts the record of a shifted layer after each of its lines. Neither a mount nor an archive takes what is left.
func TestShortRecordOfOwners(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		s.seeShifted(t, "box", twoRanges)
		good, err := os.ReadFile(s.inner.Home.Overlay(store.IDsDir, "box"))
		must(t, err)
		texts := []string{"shifted\nuid 0:-5:10\ngid 0:100000:1000\nend\n", "shifted\nuid 1:100000:10\ngid 1:100000:10\nend\n"}
		for n, c := range good[:len(good)-1] {
			if c == '\n' {
				texts = append(texts, string(good[:n+1]))
			}
		}
		s.refusesRecords(t, twoRanges, texts...)
		s.seeShifted(t, "box", nil)
	})
}

// packedReader returns an archive of members.
func packedReader(t *testing.T, members ...member) io.Reader {
	t.Helper()
	return bytes.NewReader(packed(t, members...))
}
