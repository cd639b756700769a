package store

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// MountStaged calls the function mount to make a mount in a scratch directory, and moves the complete mount to target. If mount fails, it
// must leave nothing mounted.
func (h Home) MountStaged(target string, mount func(at string) error) error {
	staging, err := h.NewScratch("mount")
	if err != nil {
		return err
	}
	// Mount below the scratch directory, not on it: a mount on it would hide the directory, whose lock others must be able to test.
	at := filepath.Join(staging.Dir, "mnt")
	if err = os.Mkdir(at, 0o700); err == nil {
		err = h.Mounting(func() error { return mountAndMove(staging.Dir, at, target, mount) })
	}
	// Searching the scratch directory for mounts would take longer than everything else here. Most often there are none, and a successful
	// rmdir proves that.
	if err == nil && os.Remove(at) == nil && os.Remove(staging.Dir) == nil {
		staging.Lock.Unlock()
		return nil
	}
	if rerr := staging.Remove(); rerr != nil {
		logrus.Warnf("aufs: removing %s: %v", staging.Dir, rerr)
	}
	return err
}

// mountAndMove calls mount for at, a directory in staging, and moves the mount to target. The kernel refuses to move a mount that is in a
// shared mount. Home may be a shared mount if another process's Cleanup has run. If the kernel refuses, mountAndMove makes staging a
// private mount and tries again.
func mountAndMove(staging, at, target string, mount func(at string) error) error {
	refused, err := mountThenMove(at, target, mount)
	if !refused {
		return err
	}
	if err := mountutil.MakePrivateMount(staging); err != nil {
		return err
	}
	_, err = mountThenMove(at, target, mount)
	return err
}

// mountThenMove is mountAndMove without changing staging. After an error nothing is mounted. refused says that the mount was made, but the
// kernel refused to move it.
func mountThenMove(at, target string, mount func(at string) error) (refused bool, err error) {
	if err := mount(at); err != nil {
		return false, err
	}
	if err = mountutil.Move(at, target); err == nil {
		return false, nil
	}
	if uerr := mountutil.UnmountRetry(at); uerr != nil {
		return false, errors.Join(err, uerr)
	}
	return errors.Is(err, unix.EINVAL), err
}
