//go:build linux

package aufs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// Access control lists are extended attributes of a binary form: a header, and entries, some of which name an owner
// (linux/posix_acl_xattr.h). In archives the owners are those in the container, as those of files are.

// The names of the two attributes, and what they begin with.
const (
	aclPrefix  = "system.posix_acl_"
	aclAccess  = aclPrefix + "access"
	aclDefault = aclPrefix + "default"
)

const (
	aclVersion   = 2
	aclHeaderLen = 4
	aclEntryLen  = 8
)

// The tags of entries. Those with an owner of their own are aclUser and aclGroup.
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclOther    = 0x20
)

// isACL tells if the extended attribute with this name is an access control list.
func isACL(name string) bool { return strings.HasPrefix(name, aclPrefix) }

// withoutInherited adds to the attributes of a file in a directory that has a default list what keeps the file, as it is
// unpacked, from having a list only for being made there: lists that say no more than its mode does.
func withoutInherited(attrs map[string]string, info fs.FileInfo) map[string]string {
	if attrs == nil {
		attrs = map[string]string{}
	}
	if _, ok := attrs[aclAccess]; !ok {
		attrs[aclAccess] = string(aclOfMode(info.Mode().Perm()))
	}
	if _, ok := attrs[aclDefault]; !ok && info.IsDir() {
		attrs[aclDefault] = string(newACL())
	}
	return attrs
}

// newACL is a list without entries: to set it is to remove the list.
func newACL() []byte { return binary.LittleEndian.AppendUint32(nil, aclVersion) }

// aclOfMode is a list that says what a mode says. The kernel keeps none then.
func aclOfMode(perm fs.FileMode) []byte {
	const noID = 1<<32 - 1
	list := newACL()
	for _, e := range []struct {
		tag  uint16
		bits fs.FileMode
	}{{aclUserObj, perm >> 6}, {aclGroupObj, perm >> 3}, {aclOther, perm}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, uint16(e.bits&0o7))
		list = binary.LittleEndian.AppendUint32(list, noID)
	}
	return list
}

// mapACL returns the list with other owners: those that uid and gid map them to.
func mapACL(list []byte, uid, gid func(id int) (int, error)) ([]byte, error) {
	if len(list) < aclHeaderLen || (len(list)-aclHeaderLen)%aclEntryLen != 0 || binary.LittleEndian.Uint32(list) != aclVersion {
		return nil, fmt.Errorf("an access control list of %d bytes is of no known form", len(list))
	}
	mapped := slices.Clone(list)
	for entry := mapped[aclHeaderLen:]; len(entry) > 0; entry = entry[aclEntryLen:] {
		id := entry[4:aclEntryLen]
		var to func(int) (int, error)
		switch binary.LittleEndian.Uint16(entry) {
		case aclUser:
			to = uid
		case aclGroup:
			to = gid
		default:
			continue
		}
		owner, err := to(int(binary.LittleEndian.Uint32(id)))
		if err != nil {
			return nil, fmt.Errorf("an access control list: %w", err)
		}
		binary.LittleEndian.PutUint32(id, uint32(owner))
	}
	return mapped, nil
}

// aclToContainer is the list with the owners as in the container.
func aclToContainer(list []byte, ids *idtools.IDMappings) ([]byte, error) {
	return mapACL(list,
		func(id int) (int, error) { return idtools.RawToContainer(id, ids.UIDs()) },
		func(id int) (int, error) { return idtools.RawToContainer(id, ids.GIDs()) })
}

// aclsToHost is the inverse of aclToContainer for the file path, of which an archive has brought the lists. It follows no
// symbolic link.
func aclsToHost(path string, ids *idtools.IDMappings) error {
	if ids.Empty() {
		return nil
	}
	names, err := system.Llistxattr(path)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	for _, name := range names {
		if !isACL(name) {
			continue
		}
		list, err := system.Lgetxattr(path, name)
		if err == nil {
			list, err = mapACL(list,
				func(id int) (int, error) { return idtools.RawToHost(id, ids.UIDs()) },
				func(id int) (int, error) { return idtools.RawToHost(id, ids.GIDs()) })
		}
		if err == nil {
			err = system.Lsetxattr(path, name, list, 0)
		}
		if err != nil {
			return &fs.PathError{Op: "mapping the owners in " + name + " of", Path: path, Err: err}
		}
	}
	return nil
}
