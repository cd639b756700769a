//go:build linux

package fsutil

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// KernelFrom reports whether the kernel is Linux major.minor or later. It is for what cannot be tried: an older kernel would write a line to its
// log each time, or do something else.
func KernelFrom(major, minor int) bool { return ReleaseFrom(kernelRelease(), major, minor) }

// kernelRelease returns the kernel's release, or "" if it does not say.
var kernelRelease = sync.OnceValue(func() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
})

// ReleaseFrom is KernelFrom for a kernel whose release is release.
func ReleaseFrom(release string, major, minor int) bool {
	var isMajor, isMinor int
	_, err := fmt.Sscanf(release, "%d.%d", &isMajor, &isMinor)
	return err == nil && (isMajor > major || isMajor == major && isMinor >= minor)
}
