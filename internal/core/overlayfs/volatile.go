//go:build linux

package overlayfs

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
)

// A mount with the option volatile makes the directory work/incompat/volatile in its work directory, and leaves it there. The kernel then
// refuses each other mount with that work directory, because a power cut may have taken any of what was written.

// KernelMayBeVolatile reports whether the kernel is Linux 5.10, which brought the option, or later. An older kernel would refuse the option
// as well, but would write a line to its log each time.
func KernelMayBeVolatile() bool { return fsutil.KernelFrom(5, 10) }

// incompatDir is the directory in a work directory that lists why the kernel must not mount with it.
const incompatDir = "work/incompat"

// volatileDir is the directory in incompatDir that a volatile mount makes.
const volatileDir = "volatile"

// LeftVolatile reports whether a volatile mount was made with the work directory work, and ForgetVolatile has not been called since.
func LeftVolatile(work string) (bool, error) {
	_, err := fsutil.LstatOf(filepath.Join(work, incompatDir, volatileDir))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// ForgetVolatile makes the kernel take the work directory work again, if a volatile mount was made with it.
func ForgetVolatile(work string) error {
	dir, err := fsutil.OpenBelow(work, incompatDir)
	if err != nil {
		return fsutil.IgnoreGone(err)
	}
	defer dir.Close()
	return dir.RemoveAll(volatileDir)
}
