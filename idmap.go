//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/idtools"
	"golang.org/x/sys/unix"
)

// UpdateLayerIDMap changes the owners of all files that the layer shows, from what toContainer maps to the ids in a
// container to what toHost does. It mounts the layer: the files of its ancestors are copied up. Like the storage
// library, which calls it on a layer that it has just made, it expects nobody else to be using the layer.
func (d *Driver) UpdateLayerIDMap(id string, toContainer, toHost *idtools.IDMappings, mountLabel string) (err error) {
	dir, err := d.Get(id, graphdriver.MountOpts{MountLabel: mountLabel})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Put(id)) }()
	missed, err := readMissed(dir)
	if err == nil {
		err = d.naive.UpdateLayerIDMap(id, toContainer, toHost, mountLabel)
	}
	if err == nil {
		err = missed.change(dir, orNone(toContainer), orNone(toHost))
	}
	if err != nil {
		return layerError("changing the owners in", id, err)
	}
	return nil
}

// missedFiles are files that the library's walk does not come to, as they were before it: in its walk of ".", entries of
// the root whose names have one letter are taken for the root (opencontainers/selinux, pkg/pwalkdir, which compares the
// lengths of the paths). All of them but the last are passed over.
type missedFiles map[string]fs.FileInfo

func readMissed(dir string) (missedFiles, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	missed := missedFiles{}
	for _, entry := range entries {
		if len(entry.Name()) > 1 {
			continue
		}
		if missed[entry.Name()], err = entry.Info(); err != nil {
			return nil, err
		}
	}
	return missed, nil
}

// change changes the owners of those files that still have the ones from before.
func (m missedFiles) change(dir string, toContainer, toHost *idtools.IDMappings) error {
	root, err := openReal(dir)
	if err != nil {
		return err
	}
	defer root.close()
	for name, before := range m {
		if err := changeIfOwner(root, name, before, toContainer, toHost); err != nil {
			return err
		}
	}
	return nil
}

// changeIfOwner is changeOwner for a file in an open directory, if it has the owner that before says. The file stays open, though not to
// be read: no other one can take its place meanwhile.
func changeIfOwner(dir openedDir, name string, before fs.FileInfo, toContainer, toHost *idtools.IDMappings) error {
	fd, err := retried(func() (int, error) { return unix.Openat(dir.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
	if err != nil {
		return dir.failed("open", name, err)
	}
	file := openedDir{fd: fd, path: dir.pathOf(name)}
	defer file.close()
	st, err := file.stat()
	if err != nil {
		return err
	}
	old := idtools.IDPair{UID: int(statOf(before).Uid), GID: int(statOf(before).Gid)}
	if (old != idtools.IDPair{UID: int(st.Uid), GID: int(st.Gid)}) {
		return nil
	}
	return changeOwner(file, &st, old, toContainer, toHost)
}

// changeOwner changes the owner of one file by the library's rules.
func changeOwner(file openedDir, st *syscall.Stat_t, old idtools.IDPair, toContainer, toHost *idtools.IDMappings) error {
	uid, gid, err := toContainer.ToContainer(old)
	switch {
	case err != nil && old == (idtools.IDPair{}):
		// Root, in a layer whose parent should have had a mapped owner.
		uid, gid = 0, 0
	case err != nil:
		return fmt.Errorf("mapping the owner %v of %s to the container: %w", old, file.path, err)
	}
	owner, err := toHost.ToHostOverflow(idtools.IDPair{UID: uid, GID: gid})
	if err != nil {
		return fmt.Errorf("mapping the owner %d:%d of %s to the host: %w", uid, gid, file.path, err)
	}
	if owner == old {
		return nil
	}
	// A change of owner takes away capabilities, and the bits that lend an owner's rights.
	path := "/proc/self/fd/" + strconv.Itoa(file.fd)
	capability, err := getCapability(path)
	if err != nil {
		return file.failed("getxattr", ".", err)
	}
	if err := unix.Fchownat(file.fd, "", owner.UID, owner.GID, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return file.failed("lchown", ".", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK && st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		if err := unix.Chmod(path, st.Mode&0o7777); err != nil {
			return file.failed("chmod", ".", err)
		}
	}
	if capability != nil {
		return file.failed("setxattr", ".", unix.Setxattr(path, capabilityXattr, capability, 0))
	}
	return nil
}

const capabilityXattr = "security.capability"

// getCapability returns the attribute of an open file, at its path in /proc; nil if there is none.
func getCapability(path string) ([]byte, error) {
	// The longest of its forms has 24 bytes (struct vfs_ns_cap_data in <linux/capability.h>).
	var value [64]byte
	n, err := unix.Getxattr(path, capabilityXattr, value[:])
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	return value[:max(n, 0)], err
}
