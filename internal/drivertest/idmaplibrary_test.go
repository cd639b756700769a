//go:build linux

package drivertest

import (
	"testing"

	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
)

// idLists are mappings of every kind: none, an empty list, one id, one range with root, one without root, and several
// ranges.
var idLists = [][]idmap.Map{
	nil,
	{},
	{{ContainerID: 0, HostID: 1000, Size: 1}},
	{{ContainerID: 5, HostID: 1000, Size: 1}},
	{{ContainerID: 0, HostID: 100, Size: 10}},
	{{ContainerID: 3, HostID: 100, Size: 10}},
	{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 5, Size: 7}},
}

func toLibrary(list []idmap.Map) []idtools.IDMap {
	if list == nil {
		return nil
	}
	to := []idtools.IDMap{}
	for _, m := range list {
		to = append(to, idtools.IDMap(m))
	}
	return to
}

// TestMapsAsTheLibrary compares the results of all functions with those of the storage library's own mappings.
func TestMapsAsTheLibrary(t *testing.T) {
	ids := []int{0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 99, 100, 103, 109, 110, 999, 1000, 1001, idmap.Overflow}
	for _, uids := range idLists {
		for _, gids := range idLists {
			ours := &idmap.Mappings{UIDs: uids, GIDs: gids}
			theirs := idtools.NewIDMappingsFromMaps(toLibrary(uids), toLibrary(gids))
			if ours.Empty() != theirs.Empty() {
				t.Errorf("%v: Empty is %v", ours, ours.Empty())
			}
			if got, want := ours.Root(), idmap.Pair(theirs.RootPair()); got != want {
				t.Errorf("%v: Root is %v, and %v is right", ours, got, want)
			}
			for _, uid := range ids {
				for _, gid := range ids {
					pair := idmap.Pair{UID: uid, GID: gid}
					samePair(t, ours, theirs, pair)
				}
			}
		}
	}
}

func samePair(t *testing.T, ours *idmap.Mappings, theirs *idtools.IDMappings, pair idmap.Pair) {
	t.Helper()
	got, err := ours.ToContainer(pair)
	wantUID, wantGID, wantErr := theirs.ToContainer(idtools.IDPair(pair))
	if got != (idmap.Pair{UID: wantUID, GID: wantGID}) || textOf(err) != textOf(wantErr) {
		t.Errorf("%v: ToContainer(%v) is %v, %v; and %d, %d, %v is right", ours, pair, got, err, wantUID, wantGID, wantErr)
	}
	host, err := theirs.ToHostOverflow(idtools.IDPair(pair))
	if got := ours.ToHostOverflow(pair); got != idmap.Pair(host) || err != nil {
		t.Errorf("%v: ToHostOverflow(%v) is %v, and %v, %v is right", ours, pair, got, host, err)
	}
	uid, err := idmap.ToHost(pair.UID, ours.UIDs)
	want, wantErr := idtools.RawToHost(pair.UID, theirs.UIDs())
	if uid != want || textOf(err) != textOf(wantErr) {
		t.Errorf("ToHost(%d, %v) is %d, %v; and %d, %v is right", pair.UID, ours.UIDs, uid, err, want, wantErr)
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
