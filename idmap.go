//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/pkg/system"
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
	for name, before := range m {
		path := filepath.Join(dir, name)
		now, err := os.Lstat(path)
		if err != nil {
			return err
		}
		old := idtools.IDPair{UID: int(statOf(before).Uid), GID: int(statOf(before).Gid)}
		if (old != idtools.IDPair{UID: int(statOf(now).Uid), GID: int(statOf(now).Gid)}) {
			continue
		}
		if err := changeOwner(path, now, old, toContainer, toHost); err != nil {
			return err
		}
	}
	return nil
}

// changeOwner changes the owner of one file by the library's rules.
func changeOwner(path string, info fs.FileInfo, old idtools.IDPair, toContainer, toHost *idtools.IDMappings) error {
	uid, gid, err := toContainer.ToContainer(old)
	switch {
	case err != nil && old == (idtools.IDPair{}):
		// Root, in a layer whose parent should have had a mapped owner.
		uid, gid = 0, 0
	case err != nil:
		return fmt.Errorf("mapping the owner %v of %s to the container: %w", old, path, err)
	}
	owner, err := toHost.ToHostOverflow(idtools.IDPair{UID: uid, GID: gid})
	if err != nil {
		return fmt.Errorf("mapping the owner %d:%d of %s to the host: %w", uid, gid, path, err)
	}
	if owner == old {
		return nil
	}
	// A change of owner takes away capabilities, and the bits that lend an owner's rights.
	capability, err := system.Lgetxattr(path, "security.capability")
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	if err := os.Lchown(path, owner.UID, owner.GID); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink == 0 && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		if err := os.Chmod(path, info.Mode()); err != nil {
			return err
		}
	}
	if capability != nil {
		return system.Lsetxattr(path, "security.capability", capability, 0)
	}
	return nil
}
