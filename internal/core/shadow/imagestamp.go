//go:build linux

package shadow

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// The times of a layer's root directory do not tell everything about a layer in an additional image store. Squashfs and other file systems that
// are written once have no times of change, and give the same inode number to the same directory of the next release. So a cache entry of such
// a layer is valid only for one mount of the layer's directory in one boot of the kernel: while that mount lives, it shows the same file
// system. Usually the whole image store is on one mount, but each layer can be on a mount of its own.
//
// If the file system of the image store can be written, whoever owns the store can convert a layer there, and need not renew the layer's time,
// because nothing is cached in the store itself. So the stamp has the layer's form as well.

// bootStamp returns a stamp of this boot of the kernel.
func bootStamp() string {
	if boot := mountutil.BootID(); boot != "" {
		return boot
	}
	// Without it, no entry is ever valid.
	return rand.Text()
}

// mountStamp returns a stamp of the mount that the directory name is on. dir is an open directory.
func mountStamp(dir int, name string) (string, error) {
	var st unix.Statx_t
	// Kernels from before 6.8 ignore STATX_MNT_ID_UNIQUE, and those from before 5.8 STATX_MNT_ID.
	err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE, &st)
	if err != nil && !fsutil.IsForbidden(err) {
		return "", err
	}
	stamp := fmt.Sprintf("%d %d:%d", st.Mnt_id, st.Dev_major, st.Dev_minor)
	if st.Mask&unix.STATX_MNT_ID_UNIQUE != 0 {
		return stamp, nil
	}
	// A later mount may get the number of a mount that is gone. But no two disks get the same diskseq (Linux 5.15 and newer).
	disk, _ := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/diskseq", st.Dev_major, st.Dev_minor)) // not every file system is on a disk
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var system unix.Statfs_t
	var above unix.Stat_t
	err = errors.Join(unix.Fstatfs(fd, &system), unix.Fstat(dir, &above))
	return fmt.Sprintf("%s %s %d %d %d", stamp, disk, system.Blocks, system.Files, above.Mtim.Nano()), err
}

// imageStamp returns the stamp of a layer in an image store, whose directory of layers is open as diff. root is the stamp of the layer's root
// directory.
func imageStamp(layer store.Layer, diff int, boot, root string) (string, error) {
	mount, err := mountStamp(diff, layer.ID)
	if err != nil {
		return "", &fs.PathError{Op: "finding the mount of", Path: layer.Dir(), Err: err}
	}
	r, err := layer.Home.ReadForm(layer.ID)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(boot + " " + mount + " " + root + " " + r.String()))
	return hex.EncodeToString(sum[:16]), nil
}
