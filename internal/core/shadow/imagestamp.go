//go:build linux

package shadow

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// The times of a layer's root directory do not tell everything about a layer in an additional image store. Squashfs and other file systems that
// are written once have no times of change, and give the same inode number to the same directory of the next release. So a cache entry of such
// a layer is valid only for one mount of the image store in one boot of the kernel: while that lives, nothing else can be there.
//
// If the file system of the image store can be written, whoever owns the store can convert a layer there, and need not renew the layer's time,
// because nothing is cached in the store itself. So the stamp has the layer's form as well.

// storeStamp returns the stamp of the image store whose directory of layers is open as diff.
func storeStamp(diff int) (string, error) {
	boot := mountutil.BootID()
	if boot == "" {
		// Without it, no entry is ever valid.
		boot = rand.Text()
	}
	var st unix.Statx_t
	// Kernels from before 6.8 ignore STATX_MNT_ID_UNIQUE, and those from before 5.8 STATX_MNT_ID.
	err := unix.Statx(diff, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE, &st)
	if err != nil && !fsutil.IsForbidden(err) {
		return "", err
	}
	stamp := fmt.Sprintf("%s %d %d:%d %d", boot, st.Mnt_id, st.Dev_major, st.Dev_minor, st.Ino)
	if st.Mask&unix.STATX_MNT_ID_UNIQUE != 0 {
		return stamp, nil
	}
	// The next mount may get the number of one that is gone. No disk gets the number of another one (Linux 5.15 and newer).
	disk, _ := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/diskseq", st.Dev_major, st.Dev_minor)) // not every file system is on a disk
	var fs unix.Statfs_t
	err = unix.Fstatfs(diff, &fs)
	return fmt.Sprintf("%s %s %d %d %d.%d", stamp, disk, fs.Blocks, fs.Files, st.Mtime.Sec, st.Mtime.Nsec), err
}

// imageStamp returns the stamp of a layer in an image store, whose root directory has the stamp root.
func imageStamp(layer store.Layer, ofStore, root string) (string, error) {
	r, err := layer.Home.ReadForm(layer.ID)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(ofStore + " " + root + " " + r.String()))
	return hex.EncodeToString(sum[:16]), nil
}
