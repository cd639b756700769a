//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/store"
	trees "github.com/seed-642172e2/aufs/internal/listing"
	"golang.org/x/sys/unix"
)

// permuted are maps that give the host's root to a user in the container.
func permuted() map[string]*idmap.Mappings {
	usual := []idmap.Map{{HostID: 100_000, Size: 65_536}}
	swapped := []idmap.Map{{HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 0, Size: 1000}, {ContainerID: 1001, HostID: 1001, Size: 60_000}}
	return map[string]*idmap.Mappings{
		"swapped":                   {UIDs: swapped, GIDs: swapped},
		"moved by one":              idMaps(idmap.Map{HostID: 1, Size: 1000}, idmap.Map{ContainerID: 1000, HostID: 0, Size: 1}),
		"users only are swapped":    {UIDs: swapped, GIDs: usual},
		"groups only are swapped":   {UIDs: usual, GIDs: swapped},
		"groups keep their numbers": {UIDs: swapped, GIDs: []idmap.Map{{Size: 65_536}}},
	}
}

// getBoth mounts the container box with maps, by this driver and by the library's overlay driver.
func (s testStore) getBoth(t *testing.T, theirs graphdriver.Driver, m *idmap.Mappings) (own, other string) {
	t.Helper()
	own = s.getShifted(t, "box", m)
	other, err := theirs.Get("box", graphdriver.MountOpts{UidMaps: theirMaps(m.UIDs), GidMaps: theirMaps(m.GIDs)})
	must(t, err)
	return own, other
}

// sameOwners compares the trees of two drivers, but for the mode and the time of the root directory, which are the drivers' own affair. It
// returns the first tree.
func sameOwners(t *testing.T, what, own, other string) map[string]trees.Entry {
	t.Helper()
	got, want := ownedTree(t, own, noMaps), ownedTree(t, other, noMaps)
	for _, tr := range []map[string]trees.Entry{got, want} {
		root := tr["."]
		root.Mode, root.Mtime = 0, 0
		tr["."] = root
	}
	sameEntries(t, what, got, want)
	return got
}

// TestShiftedWithPermutedMaps mounts a container with maps that give the host's root to a user inside. The image, whose root directory belongs
// to root, is shifted, as by the library's overlay driver. Archives have the owners that the container sees.
func TestShiftedWithPermutedMaps(t *testing.T) {
	for what, m := range permuted() {
		t.Run(what, func(t *testing.T) {
			onShifting(t, func(t *testing.T, s testStore) {
				ownedImage(t, s)
				theirs := theirOverlay(t, s, "box", "owned", "top")
				must(t, s.CreateReadWrite("box", "top", nil))
				own, other := s.getBoth(t, theirs, m)
				sameOwners(t, "new", own, other)
				if got := statInside(t, own, m, "."); got != "0:0" {
					t.Errorf("inside, the root directory belongs to %s", got)
				}
				if got := statInside(t, own, m, "d/f"); got != "3:103" {
					t.Errorf("inside, d/f belongs to %s", got)
				}
				root, at := m.Root(), time.Unix(1_500_000_000, 0)
				for _, dir := range []string{own, other} {
					must(t, appendTo(filepath.Join(dir, "d/f"), "more"))
					write(t, dir, files{"mine": "mine"})
					must(t, os.Lchown(filepath.Join(dir, "mine"), root.UID, root.GID))
				}
				must(t, errors.Join(s.Put("box"), theirs.Put("box")))
				own, other = s.getBoth(t, theirs, m)
				for _, dir := range []string{own, other} {
					// The times of what was made just now differ.
					for _, name := range []string{"mine", "d/f"} {
						must(t, os.Chtimes(filepath.Join(dir, name), at, at))
					}
				}
				sameOwners(t, "again", own, other)
				must(t, errors.Join(s.Put("box"), theirs.Put("box")))
				headers := s.diff(t, "box", "top")
				for name, want := range map[string]string{"mine": "0:0", "d/f": "3:103"} {
					if h := headers[name]; h == nil || fmt.Sprintf("%d:%d", h.Uid, h.Gid) != want {
						t.Errorf("in the archive, %s is %+v", name, h)
					}
				}
			})
		})
	}
}

// TestPermutedMapsNeverShiftTwice mounts layers whose owners UpdateLayerIDMap has changed with maps that give the host's root to a user inside.
func TestPermutedMapsNeverShiftTwice(t *testing.T) {
	for what, m := range permuted() {
		t.Run(what, func(t *testing.T) {
			onShifting(t, func(t *testing.T, s testStore) {
				ownedImage(t, s)
				s.create(t, "top", "mapped")
				must(t, s.UpdateLayerIDMap("mapped", noMaps, m, ""))
				must(t, s.CreateReadWrite("box", "mapped", nil))
				must(t, s.CreateReadWrite("own", "top", nil))
				must(t, s.UpdateLayerIDMap("own", noMaps, m, ""))
				for _, records := range []bool{true, false} {
					if !records {
						must(t, os.RemoveAll(s.inner.Home.Overlay(store.IDsDir)))
					}
					for _, box := range []string{"box", "own"} {
						want := s.seeOwned(t, box, noMaps)
						if e := want["d/f"]; e.UID != onHost(3, m) || e.GID != onHostGroup(103, m) {
							t.Errorf("%+v", e)
						}
						sameEntries(t, fmt.Sprintf("%s, records=%v", box, records), s.seeShifted(t, box, m), want)
					}
				}
			})
		})
	}
}

// TestRootOfOtherMaps mounts a container, in which nobody has written anything, first with some maps and then with others. The root directory
// belongs to the container's root, even if its first owner is another user by the other maps.
func TestRootOfOtherMaps(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		for _, hostID := range []int{100_000, 99_990, 100_000} {
			m := idMaps(idmap.Map{HostID: hostID, Size: 65_536})
			dir := s.getShifted(t, "box", m)
			if got := statInside(t, dir, m, "."); got != "0:0" {
				t.Errorf("from %d on, the root directory belongs to %s", hostID, got)
			}
			must(t, s.Put("box"))
		}
		theirs := theirOverlay(t, s, "box", "owned", "top")
		own, other := s.getBoth(t, theirs, idMaps(idmap.Map{HostID: 99_990, Size: 65_536}))
		sameOwners(t, "box", own, other)
		must(t, errors.Join(s.Put("box"), theirs.Put("box")))
		// An owner whom the container has chosen stays, also in a layer on top of it.
		m := idMaps(idmap.Map{HostID: 99_990, Size: 65_536})
		must(t, os.Lchown(s.getShifted(t, "box", m), 100_000, 100_000))
		must(t, s.Put("box"))
		s.create(t, "box", "copy")
		for _, id := range []string{"box", "copy", "copy"} {
			if e := s.seeShifted(t, id, m)["."]; e.UID != 100_000 {
				t.Errorf("%s: %+v", id, e)
			}
		}
	})
}

// TestFailedShiftedMount mounts layers with maps and an SELinux label that the kernel does not know. The layers stay as they were.
func TestFailedShiftedMount(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		must(t, s.CreateReadWrite("remapped", "top", nil))
		must(t, s.CreateReadWrite("alone", "", nil))
		s.seeShifted(t, "remapped", fewIDs)
		other := idMaps(idmap.Map{HostID: 300_000, Size: 5000})
		for id, uid := range map[string]uint32{"box": 0, "alone": 0, "remapped": 100_000} {
			layer := s.inner.Stores.Own(id)
			before, err := shift.Read(layer)
			must(t, err)
			_, err = s.Get(id, driver.GetOptions{MountLabel: "nonsense", IDs: shift.Request{Maps: other}})
			wants(t, err, unix.EINVAL, "mounting layer "+id)
			if after, err := shift.Read(layer); err != nil || !reflect.DeepEqual(after, before) {
				t.Errorf("%s has the record %v and not %v, %v", id, after, before, err)
			}
			if e := s.seeOwned(t, id, noMaps)["."]; e.UID != uid || e.GID != uid {
				t.Errorf("%s: %+v", id, e)
			}
			if e := s.seeShifted(t, id, other)["."]; e.UID != 300_000 || e.GID != 300_000 {
				t.Errorf("%s: %+v", id, e)
			}
		}
		noMounts(t, s.inner.Home.Mnt(""))
		noLeftovers(t, s)
	})
}

// TestShiftedMountFailsOnce has the first mount with maps fail because the kernel makes no user namespace. The layer stays as it was.
func TestShiftedMountFailsOnce(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		makeNamespace, no := s.inner.Library.UserNamespace, false
		s.inner.Library.UserNamespace = func(m *idmap.Mappings) (*os.File, error) {
			if no {
				return nil, unix.ENOSPC
			}
			return makeNamespace(m)
		}
		s.inner.Shifting = s.inner.OpenShifting(backend.Auto)
		if !s.SupportsShifting(nil) {
			t.Fatal("the driver does not shift")
		}
		no = true
		_, err := s.tryShifted("box", twoRanges)
		wants(t, err, unix.ENOSPC, "mounting layer box")
		if e := s.seeOwned(t, "box", noMaps)["d/f"]; e.UID != 3 {
			t.Errorf("%+v", e)
		}
		no = false
		if e := s.seeShifted(t, "box", twoRanges)["d/f"]; e.UID != 100_003 {
			t.Errorf("%+v", e)
		}
	})
}

// TestUnfinishedChangeIsNotShifted mounts a layer with maps after a change of its owners was cut short. By any maps, some files would have wrong
// owners. The next change finishes the first.
func TestUnfinishedChangeIsNotShifted(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		other := idMaps(idmap.Map{HostID: 300_000, Size: 5000})
		for what, before := range map[string]*idmap.Mappings{"of-an-image": noMaps, "again": fewIDs} {
			s.create(t, "top", what)
			must(t, s.CreateReadWrite("box-on-"+what, what, nil))
			if before != noMaps {
				must(t, s.UpdateLayerIDMap(what, noMaps, before, ""))
			}
			dir := s.get(t, what)
			plan, err := owners.PlanOf(dir, owners.Maps{ToContainer: before, ToHost: other})
			must(t, err)
			must(t, owners.Write(s.inner.Home, what, plan))
			half := *plan
			half.Files = plan.Files[:len(plan.Files)/2]
			must(t, half.Apply(dir, s.inner.Home.Diff(what)))
			must(t, s.Put(what))
			for _, id := range []string{what, "box-on-" + what} {
				for _, m := range []*idmap.Mappings{fewIDs, other} {
					for _, options := range []string{"", "ro"} {
						_, err := s.tryShifted(id, m, options)
						wants(t, err, shift.ErrOtherMaps, "mounting layer "+id, s.inner.Home.Diff(what), "cut short")
					}
				}
			}
			must(t, s.UpdateLayerIDMap(what, before, other, ""))
			for _, id := range []string{what, "box-on-" + what} {
				if e := s.seeShifted(t, id, other)["d/f"]; e.UID != 300_003 {
					t.Errorf("%s: %+v", id, e)
				}
			}
		}
	})
}
