//go:build linux

package backend

import (
	"fmt"

	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// WorkDir returns overlayfs's work directory for the layer id. No container can reach it.
func WorkDir(h store.Home, id string) string { return h.BesideDiff().Overlay(store.WorkDir, id) }

// readyWork makes the work directory of the mount m of the layer id, unless it exists, and lets the kernel take it if a volatile mount has
// been made with it. Put does that for the mounts that it ends (see UnmountedVolatile). After a crash, the mount may live on in another
// mount namespace, and then readyWork returns a *BusyError.
func (b *OverlayBackend) readyWork(id string, m overlayfs.Mount) error {
	if m.Volatile && !b.Volatile {
		return fmt.Errorf("the mount option %q needs the overlayfs of Linux 5.10 or later, and the overlayfs of this kernel refuses it: %w", volatileOption, unix.EINVAL)
	}
	if err := makeDir(m.Work); err != nil {
		return err
	}
	// Overlayfs moves files between its work directory and the layer's.
	if err := layerquota.CountIn(b.home, id, m.Work); err != nil {
		return err
	}
	left, err := overlayfs.LeftVolatile(m.Work)
	if err != nil || !left {
		return err
	}
	used, err := b.forms.Users.UpperInUse(m.Upper, b.Form)
	if err == nil {
		err = b.forms.Users.BusyIf(used, id)
	}
	if err != nil {
		return fmt.Errorf("an earlier mount, with the option %q, may be alive: %w", volatileOption, err)
	}
	return overlayfs.ForgetVolatile(m.Work)
}

// IsVolatile reports whether a volatile overlay mount of the layer id is at target. On error, the answer is no, and the next mount has to
// find out more. A read-only mount is not volatile: another mount has made work/incompat/volatile, before a crash or in another mount
// namespace.
func IsVolatile(h store.Home, id, target string) bool {
	left, err := overlayfs.LeftVolatile(WorkDir(h, id))
	if err != nil || !left {
		return false
	}
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil || st.Type != unix.OVERLAYFS_SUPER_MAGIC || st.Flags&unix.ST_RDONLY != 0 {
		return false
	}
	mounted, err := mountutil.IsMounted(target)
	return err == nil && mounted
}

// UnmountedVolatile lets the kernel mount the layer id again after the caller has ended its volatile mount. No crash came between, so
// the layer has everything that was written to it.
func UnmountedVolatile(h store.Home, id string) error {
	return overlayfs.ForgetVolatile(WorkDir(h, id))
}
