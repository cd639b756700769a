//go:build linux

package moving

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/removal"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// CheckMounts returns an error if files cannot be renamed between the two homes, or if something is mounted in one of them. The drivers make
// mounts of a home onto itself, which are no error.
func (m *Move) CheckMounts() error {
	for _, dir := range []string{string(m.Home), m.Overlay} {
		if err := checkMounts(dir, m.Home.Mnt("")); err != nil {
			return store.OpError("moving layers", err)
		}
	}
	return nil
}

// checkMounts is CheckMounts for one home. In this driver's home, mnt can be a mount of itself as well.
func checkMounts(home, mnt string) error {
	if !store.IsThere(home) {
		return nil
	}
	st, err := fsutil.LstatOf(home)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = fmt.Errorf("%s is no directory, so its files may be on another file system", home)
	}
	mounted := false
	if err == nil {
		mounted, err = mountutil.IsMounted(home)
	}
	if err == nil && mounted {
		var own bool
		if own, err = store.IsSelfBind(home); err == nil && !own {
			err = fmt.Errorf("%s is on a mount of its own, and files cannot be renamed from one mount to another", home)
		}
	}
	if err != nil {
		return err
	}
	under, err := mountutil.MountsUnder(home)
	for _, mount := range under {
		if own, serr := store.IsSelfBind(mount.Mountpoint); mount.Mountpoint != mnt || serr != nil || !own {
			err = errors.Join(err, serr, fmt.Errorf("%s is a mount: %w", mount.Mountpoint, mountutil.Busy(mount.Mountpoint)))
		}
	}
	return err
}

// Unbind unmounts the mounts of the two homes onto themselves, which the drivers make: no file can be renamed from one mount to another. It
// does nothing if CheckMounts returns an error.
func (m *Move) Unbind() error {
	if err := m.CheckMounts(); err != nil {
		return err
	}
	for _, dir := range []string{m.Home.Mnt(""), string(m.Home), m.Overlay} {
		mounted, err := mountutil.IsMounted(dir)
		if fsutil.IgnoreGone(err) == nil && !mounted {
			continue
		}
		if err == nil {
			err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		}
		if err != nil {
			return store.OpError("moving layers", &mountutil.Error{Op: "unmount", Target: dir, Err: err})
		}
	}
	return nil
}

// Sweep removes what calls that were killed have left in the homes, such as trial mounts.
func (m *Move) Sweep() error {
	for _, dir := range []string{m.Home.Diff(""), m.Overlay} {
		tries, err := filepath.Glob(filepath.Join(dir, tryPrefix+"*"))
		if err != nil {
			return err
		}
		for _, try := range tries {
			// It is empty, or it is a layer.
			_ = unix.Rmdir(try)
		}
	}
	if !store.IsThere(m.Home.Tmp()) {
		return nil
	}
	var errs []error
	warn := func(err error) { errs = append(errs, err) }
	err := removal.New(m.Home, m.forms.Users.Notes).RemoveAbandoned(context.Background(), warn)
	return errors.Join(append(errs, err)...)
}

// tryPrefix is the beginning of the names of directories that TryRename makes.
const tryPrefix = "moving-"

// TryRename renames an empty directory from one home to the other and back. Both homes must exist.
func (m *Move) TryRename() error {
	here, err := os.MkdirTemp(m.Overlay, tryPrefix)
	if err != nil {
		return err
	}
	there := m.Home.Diff(filepath.Base(here))
	if err = os.Rename(here, there); err == nil {
		err = os.Rename(there, here)
	}
	return errors.Join(err, os.Remove(here))
}
