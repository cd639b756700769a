package idmap

import (
	"errors"
	"fmt"
	"slices"
)

// mostID is one more than the largest id: the kernel takes the last number of 32 bits for "no id".
const mostID = 1<<32 - 1

// mostRanges is how many ranges the kernel takes in one map: UID_GID_MAP_MAX_EXTENTS in include/linux/user_namespace.h.
const mostRanges = 340

// Equal reports whether m and other have the same ranges, in the same order.
func (m *Mappings) Equal(other *Mappings) bool {
	return slices.Equal(m.UIDs, other.UIDs) && slices.Equal(m.GIDs, other.GIDs)
}

// Check returns an error if the kernel or a container could make nothing of the mappings: users without groups or
// groups without users, too many ranges, an empty range, a range with numbers that are no ids, ranges that overlap, or no id for root.
func (m *Mappings) Check() error {
	switch {
	case len(m.UIDs) == 0:
		return errors.New("the id maps have no users")
	case len(m.GIDs) == 0:
		return errors.New("the id maps have no groups")
	}
	if err := checkList(m.UIDs); err != nil {
		return fmt.Errorf("the id map of users %w", err)
	}
	if err := checkList(m.GIDs); err != nil {
		return fmt.Errorf("the id map of groups %w", err)
	}
	if m.Root() == (Pair{UID: -1, GID: -1}) {
		return errors.New("the id maps have no id for root")
	}
	return nil
}

// checkList checks one list of ranges. The text of the error follows the name of the list.
func checkList(list []Map) error {
	if n := len(list); n > mostRanges {
		return fmt.Errorf("has %d ranges, and the kernel takes at most %d", n, mostRanges)
	}
	for n, a := range list {
		if a.Size <= 0 {
			return fmt.Errorf("has the empty range %s", a)
		}
		// An int may have only 32 bits, too few for mostID.
		if size := int64(a.Size); a.ContainerID < 0 || a.HostID < 0 || size > mostID || int64(max(a.ContainerID, a.HostID)) > mostID-size {
			return fmt.Errorf("has the range %s, which is not within the ids that there are", a)
		}
		for _, b := range list[:n] {
			if overlap(a.ContainerID, b.ContainerID, a.Size, b.Size) || overlap(a.HostID, b.HostID, a.Size, b.Size) {
				return fmt.Errorf("has the ranges %s and %s, which overlap", b, a)
			}
		}
	}
	return nil
}

// overlap reports whether the ranges that begin at a and b have an id in common.
func overlap(a, b, aSize, bSize int) bool {
	return int64(a) < int64(b)+int64(bSize) && int64(b) < int64(a)+int64(aSize)
}

// String returns the numbers of the range in the order of user_namespaces(7), with colons between them, as in podman's option --uidmap.
func (m Map) String() string { return fmt.Sprintf("%d:%d:%d", m.ContainerID, m.HostID, m.Size) }
