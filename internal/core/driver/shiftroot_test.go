//go:build linux

package driver

import (
	"errors"
	"os"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	trees "github.com/seed-642172e2/aufs/internal/listing"
)

// getBoth mounts the container box with maps, by this driver and by the library's overlay driver.
func (s testStore) getBoth(t *testing.T, theirs graphdriver.Driver, m *idmap.Mappings) (own, other string) {
	t.Helper()
	own = s.getShifted(t, "box", m)
	other, err := theirs.Get("box", graphdriver.MountOpts{UidMaps: theirMaps(m.UIDs), GidMaps: theirMaps(m.GIDs)})
	must(t, err)
	return own, other
}

// sameOwners compares the trees of two drivers, but for the mode and the time of the root directory, which are the drivers' own affair.
func sameOwners(t *testing.T, what, own, other string) {
	t.Helper()
	got, want := ownedTree(t, own, noMaps), ownedTree(t, other, noMaps)
	for _, tr := range []map[string]trees.Entry{got, want} {
		root := tr["."]
		root.Mode, root.Mtime = 0, 0
		tr["."] = root
	}
	sameEntries(t, what, got, want)
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
		// An owner whom the container has chosen stays.
		m := idMaps(idmap.Map{HostID: 99_990, Size: 65_536})
		must(t, os.Lchown(s.getShifted(t, "box", m), 100_000, 100_000))
		must(t, s.Put("box"))
		if e := s.seeShifted(t, "box", m)["."]; e.UID != 100_000 {
			t.Errorf("%+v", e)
		}
	})
}
