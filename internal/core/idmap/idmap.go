// Package idmap maps the owners of files between a container and its host.
package idmap

import "fmt"

// Overflow is the id for an owner that a mapping does not know. It is the kernel's default for
// /proc/sys/kernel/overflowuid.
const Overflow = 65534

// A Map is one range of ids.
type Map struct {
	// ContainerID and HostID are the first id of the range, as the container and the host see it.
	ContainerID, HostID int
	// Size is the number of ids in the range.
	Size int
}

// A Pair is an owner and a group.
type Pair struct{ UID, GID int }

// Mappings are the ranges of user ids and those of group ids. The zero value leaves ids as they are.
type Mappings struct {
	UIDs, GIDs []Map
	// Lenient makes ToContainer return an owner for each file, as a container sees it: Overflow for an id without a
	// range. If the host's id 0 has no range, it becomes the container's id 0.
	Lenient bool
}

// ToHost returns the id on the host of an id in the container. A nil list leaves ids as they are.
func ToHost(id int, list []Map) (int, error) {
	if list == nil {
		return id, nil
	}
	for _, m := range list {
		if n := id - m.ContainerID; n >= 0 && n < m.Size {
			return m.HostID + n, nil
		}
	}
	return -1, fmt.Errorf("container ID %d cannot be mapped to a host ID", id)
}

// ToContainer returns the id in the container of an id on the host. A nil list leaves ids as they are.
func ToContainer(id int, list []Map) (int, error) {
	if list == nil {
		return id, nil
	}
	for _, m := range list {
		if n := id - m.HostID; n >= 0 && n < m.Size {
			return m.ContainerID + n, nil
		}
	}
	return -1, fmt.Errorf("host ID %d cannot be mapped to a container ID", id)
}

// Empty reports whether there are no ranges.
func (m *Mappings) Empty() bool { return len(m.UIDs) == 0 && len(m.GIDs) == 0 }

// Root returns the owner on the host of what belongs to the container's root. Both ids are -1 if there is none.
func (m *Mappings) Root() Pair {
	uid, uidErr := rootOf(m.UIDs)
	gid, gidErr := rootOf(m.GIDs)
	if uidErr != nil || gidErr != nil {
		return Pair{UID: -1, GID: -1}
	}
	return Pair{UID: uid, GID: gid}
}

// rootOf is ToHost of id 0. If the container has a single id, that is its root, whichever id it is.
func rootOf(list []Map) (int, error) {
	if len(list) == 1 && list[0].Size == 1 {
		return list[0].HostID, nil
	}
	return ToHost(0, list)
}

// ToContainer returns the owner as the container sees it.
func (m *Mappings) ToContainer(p Pair) (Pair, error) {
	uid, err := m.toContainer(p.UID, m.UIDs)
	if err != nil {
		return Pair{UID: -1, GID: -1}, err
	}
	gid, err := m.toContainer(p.GID, m.GIDs)
	return Pair{UID: uid, GID: gid}, err
}

func (m *Mappings) toContainer(id int, list []Map) (int, error) {
	inside, err := ToContainer(id, list)
	switch {
	case err == nil || !m.Lenient:
		return inside, err
	case id == 0:
		return 0, nil
	}
	return Overflow, nil
}

// ToHostOverflow returns the owner as the host sees it, by the rules that the storage library follows when it changes
// the owners in a layer. An id that equals Root's stays as it is. An id without a range becomes Overflow.
func (m *Mappings) ToHostOverflow(p Pair) Pair {
	to := m.Root()
	to.UID = overflowing(p.UID, to.UID, m.UIDs)
	to.GID = overflowing(p.GID, to.GID, m.GIDs)
	return to
}

func overflowing(id, root int, list []Map) int {
	if id == root {
		return id
	}
	to, err := ToHost(id, list)
	if err != nil {
		return Overflow
	}
	return to
}
