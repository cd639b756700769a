package store

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// MountStaged has mount mount something out of the way, and moves it to target once it is whole. If mount fails it leaves nothing mounted.
func (h Home) MountStaged(target string, mount func(at string) error) error {
	staging, err := h.NewScratch("mount")
	if err != nil {
		return err
	}
	// Below the scratch directory: its lock is to stay in sight.
	at := filepath.Join(staging.Dir, "mnt")
	if err = os.Mkdir(at, 0o700); err == nil {
		err = h.Mounting(func() error { return mountAndMove(staging.Dir, at, target, mount) })
	}
	// To look for mounts in it takes longer than all else here, and most often there are none, which rmdir says as well.
	if err == nil && os.Remove(at) == nil && os.Remove(staging.Dir) == nil {
		staging.Lock.Unlock()
		return nil
	}
	if rerr := staging.Remove(); rerr != nil {
		logrus.Warnf("aufs: removing %s: %v", staging.Dir, rerr)
	}
	return err
}

// mountAndMove mounts at a place in the directory staging, and moves that mount to target. The kernel refuses to move what is in
// a shared mount, as home may be when another process's Cleanup was here: staging becomes a private one then.
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

// mountThenMove is mountAndMove with staging as it is. After an error nothing is mounted; refused says that the error is that
// the mount, which was made, cannot be moved.
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
