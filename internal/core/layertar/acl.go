//go:build linux

package layertar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// An access control list is an extended attribute of a binary form: a header, and entries, some of which name an owner
// (linux/posix_acl_xattr.h). In archives, the owners are those in the container, as the owners of files are.

const (
	aclVersion = 2
	// ACLHeaderLen is the length of the header in bytes.
	ACLHeaderLen = 4
	// ACLEntryLen is the length of an entry in bytes.
	ACLEntryLen = 8
	// ACLNoID is the owner in an entry that names no owner.
	ACLNoID = 1<<32 - 1
)

// The tags of entries. Only the entries ACLUser and ACLGroup name an owner.
const (
	ACLUserObj  = 0x01
	ACLUser     = 0x02
	ACLGroupObj = 0x04
	ACLGroup    = 0x08
	ACLOther    = 0x20
)

// IsACL reports whether the extended attribute with this name is an access control list.
func IsACL(name string) bool { return strings.HasPrefix(name, fsutil.ACLPrefix) }

// WithoutInherited adds access control lists to the attributes of a file in a directory that has a default list. The
// added lists say no more than the file's mode. They keep the file, as it is unpacked, from inheriting a list from the
// directory.
func WithoutInherited(attrs map[string]string, info fs.FileInfo) map[string]string {
	if attrs == nil {
		attrs = map[string]string{}
	}
	if _, ok := attrs[fsutil.ACLAccess]; !ok {
		attrs[fsutil.ACLAccess] = string(ACLOfMode(info.Mode().Perm()))
	}
	if _, ok := attrs[fsutil.ACLDefault]; !ok && info.IsDir() {
		attrs[fsutil.ACLDefault] = string(NewACL())
	}
	return attrs
}

// NewACL returns a list without entries. Setting it removes the list.
func NewACL() []byte { return binary.LittleEndian.AppendUint32(nil, aclVersion) }

// ACLOfMode returns a list that says the same as a mode. The kernel does not store such a list.
func ACLOfMode(perm fs.FileMode) []byte {
	list := NewACL()
	for _, e := range []struct {
		tag  uint16
		bits fs.FileMode
	}{{ACLUserObj, perm >> 6}, {ACLGroupObj, perm >> 3}, {ACLOther, perm}} {
		list = AppendACL(list, e.tag, uint16(e.bits&0o7), ACLNoID)
	}
	return list
}

// AppendACL appends an entry to a list: a tag, permissions, and an owner.
func AppendACL(list []byte, tag, permissions uint16, owner uint32) []byte {
	list = binary.LittleEndian.AppendUint16(list, tag)
	list = binary.LittleEndian.AppendUint16(list, permissions)
	return binary.LittleEndian.AppendUint32(list, owner)
}

// MapACL returns the list with other owners: those to which uid and gid map them. It leaves out the entries whose
// owners uid and gid do not know; left is how many.
func MapACL(list []byte, uid, gid func(id int) (int, error)) (mapped []byte, left int, err error) {
	if len(list) < ACLHeaderLen || (len(list)-ACLHeaderLen)%ACLEntryLen != 0 || binary.LittleEndian.Uint32(list) != aclVersion {
		return nil, 0, fmt.Errorf("an access control list of %d bytes is of no known form", len(list))
	}
	mapped = NewACL()
	for entry := range slices.Chunk(list[ACLHeaderLen:], ACLEntryLen) {
		var to func(int) (int, error)
		owner := binary.LittleEndian.Uint32(entry[4:])
		switch binary.LittleEndian.Uint16(entry) {
		case ACLUser:
			to = uid
		case ACLGroup:
			to = gid
		default:
			mapped = append(mapped, entry...)
			continue
		}
		// In a user namespace, ACLNoID stands for an owner that the namespace does not know.
		id, err := to(int(owner))
		if err != nil || owner == ACLNoID {
			left++
			continue
		}
		mapped = binary.LittleEndian.AppendUint32(append(mapped, entry[:4]...), uint32(id))
	}
	return mapped, left, nil
}

// ACLToContainer returns the list with the owners that the container sees.
func ACLToContainer(list []byte, ids *idmap.Mappings) (mapped []byte, left int, err error) {
	return MapACL(list,
		func(id int) (int, error) { return idmap.ToContainer(id, ids.UIDs) },
		func(id int) (int, error) { return idmap.ToContainer(id, ids.GIDs) })
}

// ACLToHost is the inverse of ACLToContainer.
func ACLToHost(list []byte, ids *idmap.Mappings) (mapped []byte, left int, err error) {
	return MapACL(list,
		func(id int) (int, error) { return idmap.ToHost(id, ids.UIDs) },
		func(id int) (int, error) { return idmap.ToHost(id, ids.GIDs) })
}

// ACLsToHost does the work of ACLToHost for the files that an archive has brought.
type ACLsToHost struct {
	ids *idmap.Mappings
	// done has the inodes of those files with several names that have been mapped.
	done map[uint64]bool
}

// NewACLsToHost returns an ACLsToHost for the mappings ids.
func NewACLsToHost(ids *idmap.Mappings) ACLsToHost {
	return ACLsToHost{ids: ids, done: map[uint64]bool{}}
}

// File maps the owners in the lists of the file name in dir. It does not follow a symbolic link.
func (a ACLsToHost) File(dir fsutil.Dir, name string) error {
	if a.ids.Empty() {
		return nil
	}
	names, err := fsutil.ListXattrs(dir.Reach(name))
	if err != nil {
		return dir.Named(err)
	}
	if names = slices.DeleteFunc(names, func(name string) bool { return !IsACL(name) }); len(names) == 0 {
		return nil
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	if st := fsutil.StatOf(info); !info.IsDir() && st.Nlink > 1 {
		if a.done[st.Ino] {
			return nil
		}
		a.done[st.Ino] = true
	}
	for _, attr := range names {
		if err := a.list(dir, name, attr); err != nil {
			return dir.Failed("mapping the owners in "+attr+" of", name, dir.Named(err))
		}
	}
	return nil
}

func (a ACLsToHost) list(dir fsutil.Dir, name, attr string) error {
	list, err := fsutil.PathXattrs(dir.Reach(name)).Get(attr)
	if err != nil {
		return err
	}
	list, left, err := ACLToHost(list, a.ids)
	if err != nil {
		return err
	}
	if left > 0 {
		logrus.Warnf("aufs: leaving out %d owners in %s of %s, who have no ids on the host", left, attr, dir.PathOf(name))
	}
	return fsutil.PathXattrs(dir.Reach(name)).Set(attr, list, 0)
}

// TakenACLs has the access control lists that were taken off a directory, by the name of the attribute.
type TakenACLs map[string][]byte

// TakeACLs takes the access control lists off a directory. Otherwise everything made in the directory would get a list
// of its own from the directory's default list.
func TakeACLs(dir string) (TakenACLs, error) {
	taken := TakenACLs{}
	for _, name := range []string{fsutil.ACLAccess, fsutil.ACLDefault} {
		list, err := fsutil.PathXattrs(dir).Get(name)
		if errors.Is(err, unix.ENOTSUP) || err == nil && list == nil {
			continue
		}
		if err == nil {
			taken[name] = list
			err = unix.Lremovexattr(dir, name)
		}
		if err != nil {
			return nil, &fs.PathError{Op: "taking off " + name, Path: dir, Err: err}
		}
	}
	return taken, nil
}

// GiveBack sets the lists again, except those that the directory has got in the meantime. The directory keeps its
// permission bits.
func (taken TakenACLs) GiveBack(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	for name, list := range taken {
		now, err := fsutil.PathXattrs(dir).Get(name)
		if err == nil && now == nil {
			err = fsutil.PathXattrs(dir).Set(name, list, 0)
		}
		if err != nil {
			return err
		}
	}
	if len(taken) == 0 {
		return nil
	}
	if err := unix.Chmod(dir, st.Mode&0o7777); err != nil {
		return &fs.PathError{Op: "chmod", Path: dir, Err: err}
	}
	return nil
}
