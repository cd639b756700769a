package layertar

import (
	"encoding/binary"

	"github.com/seed-642172e2/aufs/internal/core/idmap"
)

// CapabilityAttr is the attribute with the capabilities of a file.
const CapabilityAttr = "security.capability"

// The attribute is struct vfs_ns_cap_data of <linux/capability.h>. In revision 3, its last four bytes are the id, on the host, of the root of
// the user namespace in which the capabilities count. Revision 2 has no such id.
const (
	capabilityLen      = 24
	capabilityRootID   = capabilityLen - 4
	capabilityRevision = 3 // the index of the byte that is the revision
)

// CapabilityToContainer returns the capabilities as the container has them. If they count for the container's root, they have no id.
func CapabilityToContainer(value []byte, ids *idmap.Mappings) []byte {
	if len(value) != capabilityLen || value[capabilityRevision] != 3 || ids.Empty() {
		return value
	}
	if int64(binary.LittleEndian.Uint32(value[capabilityRootID:])) != int64(ids.Root().UID) {
		return value
	}
	mapped := append([]byte(nil), value[:capabilityRootID]...)
	mapped[capabilityRevision] = 2
	return mapped
}
