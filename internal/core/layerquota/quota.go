//go:build linux

package layerquota

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// A layer with a quota has a project of its own. The layer's directory and its work directory belong to that project, and so does everything
// that is made in them. The symbolic link overlay/quota/<id> records the project and its limits. The driver does not trust the
// project that the directory has: a container can give the directory the project of another layer, and then the removal of the first layer
// would lift the limits of the other.

// A Quota is the project of a layer, and the limits that the project should have.
type Quota struct {
	Project quota.Project
	Limits  quota.Limits
}

// errHasQuota says that files cannot be put in the place of a layer's directory, because they would not count in its quota.
var errHasQuota = errors.New("the layer has a quota, in which files that were unpacked elsewhere do not count")

// String returns the target of the link that records q. It is the inverse of parseQuota.
func (q Quota) String() string {
	return fmt.Sprintf("%d %d %d", q.Project, q.Limits.Bytes, q.Limits.Inodes)
}

func parseQuota(target string) (q Quota, ok bool) {
	_, err := fmt.Sscanf(target, "%d %d %d", &q.Project, &q.Limits.Bytes, &q.Limits.Inodes)
	return q, err == nil && q.String() == target
}

// Limit gives diff/<id>, which is new and empty, a project with these limits, and records it. The caller holds the store lock. It has to
// call sync before the layer exists, or Unlimit if it does not make the layer.
func Limit(h store.Home, id string, l quota.Limits) (sync func() error, err error) {
	p, err := quota.New(h.Diff(id), l)
	if err != nil {
		return nil, err
	}
	// The file system may have rounded them.
	l, err = p.Limits(h.Diff(""))
	var syncLink func() error
	if err == nil {
		syncLink, err = h.LinkRecord(store.QuotaDir, id, Quota{p, l}.String())
	}
	if err != nil {
		return nil, errors.Join(err, unlimit(h, p))
	}
	return func() error { return errors.Join(fsutil.SyncDir(h.Diff(id)), syncLink()) }, nil
}

// Unlimit undoes Limit, except that diff/<id> keeps its project.
func Unlimit(h store.Home, id string) error {
	target, err := os.Readlink(h.Overlay(store.QuotaDir, id))
	if err != nil {
		return err
	}
	if q, ok := parseQuota(target); ok {
		err = unlimit(h, q.Project)
	}
	return errors.Join(err, os.Remove(h.Overlay(store.QuotaDir, id)))
}

// unlimit removes the limits of the project p. Its number is free again when all of its files are gone.
func unlimit(h store.Home, p quota.Project) error {
	return p.SetLimits(h.Diff(""), quota.Limits{})
}

// Read returns the quota that is recorded for the layer id. Its project is 0 if there is no record.
func Read(h store.Home, id string) (Quota, error) {
	path := h.Overlay(store.QuotaDir, id)
	target, err := store.ReadLink(path)
	if err != nil {
		return Quota{}, fsutil.IgnoreGone(err)
	}
	q, ok := parseQuota(target)
	if !ok {
		return Quota{}, fmt.Errorf("%w: the link %s leads to %q, which is no quota", store.ErrDamaged, path, target)
	}
	return q, nil
}

// Of returns the quota of the layer id. Its project is 0 if the layer has no quota, or if diff/<id> does not have the project that is
// recorded. The latter happens if the store was copied to another disk, or if a container has changed the project.
func Of(h store.Home, id string) (Quota, error) {
	q, err := Read(h, id)
	if err != nil || q.Project == 0 {
		return Quota{}, err
	}
	p, err := quota.Of(h.Diff(id))
	if quota.NotSupported(err) || errors.Is(err, fs.ErrNotExist) || err == nil && p != q.Project {
		return Quota{}, nil
	}
	return q, err
}

// CheckLimits returns an error if new layers of the store are to have limits, and the host cannot limit them. fsName returns the name of the
// file system of a directory.
func CheckLimits(h store.Home, limits quota.Limits, fsName func(dir string) string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(h.Diff(""), &st); err == nil && st.Flags&unix.ST_RDONLY != 0 {
		// No layer can be made in a read-only store, and a read-only file system does not count what files take.
		return nil
	}
	if err := limits.Check(h.Diff(""), fsName); err != nil {
		return fmt.Errorf("%w: %w", store.ErrPrerequisites, err)
	}
	return nil
}

// MustHaveNone returns an error if the layer id has a quota.
func MustHaveNone(h store.Home, id string) error {
	q, err := Of(h, id)
	if err == nil && q.Project != 0 {
		err = errHasQuota
	}
	return err
}

// CountIn makes the empty directory dir, and everything that is made in it, count in the quota of the layer id, if there is one.
func CountIn(h store.Home, id, dir string) error {
	q, err := Of(h, id)
	if err != nil || q.Project == 0 {
		return err
	}
	return q.Project.Give(dir)
}

// Usage returns what counts in the quota of the layer id. The result is zero if the layer has no quota, or if quotas are off by now.
func Usage(h store.Home, id string) (quota.Usage, error) {
	q, err := Of(h, id)
	if err != nil || q.Project == 0 {
		return quota.Usage{}, err
	}
	used, err := q.Project.Usage(h.Diff(""))
	return used, ignoreOff(err)
}

// ignoreOff returns nil if err says that quotas are off by now, or that this process may not read or set them.
func ignoreOff(err error) error {
	if quota.NotSupported(err) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

// MustBeWithin returns an error that matches EDQUOT if the files of the layer id take more than its quota. On some file systems, nothing limits
// a process with CAP_SYS_RESOURCE, such as the driver.
func MustBeWithin(h store.Home, id string) error {
	q, err := Of(h, id)
	if err != nil || q.Project == 0 {
		return err
	}
	used, err := q.Project.Usage(h.Diff(""))
	if err == nil && !q.Limits.Allow(used) {
		err = fmt.Errorf("%d bytes in %d files take more than the layer's quota, %s: %w", used.Bytes, used.Inodes, q.Limits, unix.EDQUOT)
	}
	return ignoreOff(err)
}

// Free reads the quota of the layer id, and returns a function that removes the limits. The function does not need the layer's directory, which
// may be gone from diff/ by then. Limits that stay after a crash do no harm: whichever layer gets the project later gets limits of its own.
func Free(h store.Home, id string) func() error {
	q, err := Of(h, id)
	return func() error {
		if err != nil || q.Project == 0 {
			return err
		}
		return ignoreOff(unlimit(h, q.Project))
	}
}

// A Room makes room in the quota of the layer id while it calls do.
type Room func(h store.Home, id string, do func() error) error

// WithRoom lifts the limits of the layer id while it calls do. aufs and overlayfs make files of their own when they mount a layer, and so does a
// conversion. Otherwise a full layer could not be mounted to delete files in it; overlayfs mounts such a layer read-only without an error.
// The caller holds the layer's lock, and no container runs in the layer.
func WithRoom(h store.Home, id string, do func() error) error {
	return withLimits(h, id, do, func(Quota) quota.Limits { return quota.Limits{} })
}

// reserve is what there is room for in WithReserve.
var reserve = quota.Limits{Bytes: 64 << 20, Inodes: 10_000}

// WithReserve raises, while it calls do, those limits of the layer id that leave less room than the reserve. A container may run in the
// layer. So the limits are not lifted: the container could write any amount meanwhile, or for long if this process was killed. The caller
// holds the layer's lock.
func WithReserve(h store.Home, id string, do func() error) error {
	return withLimits(h, id, do, func(q Quota) quota.Limits {
		used, err := q.Project.Usage(h.Diff(""))
		if err != nil {
			return q.Limits
		}
		return q.Limits.Leaving(reserve, used)
	})
}

// withLimits calls do while the layer id has the limits that during returns for its quota.
func withLimits(h store.Home, id string, do func() error, during func(Quota) quota.Limits) error {
	q, err := Of(h, id)
	if err != nil {
		return err
	}
	if q.Project == 0 {
		return do()
	}
	// If this process may not set the limits, do has less room.
	_ = q.set(h, during(q))
	return errors.Join(do(), q.restore(h))
}

// Restore gives the project of the layer, if it is in home, the recorded limits: see withLimits. The caller holds the layer's lock.
func Restore(s store.Stores, l store.Layer) error {
	if !s.IsOwn(l) {
		return nil
	}
	q, err := Of(l.Home, l.ID)
	if err != nil || q.Project == 0 {
		return err
	}
	return q.restore(l.Home)
}

// restore gives the project of q the recorded limits, if it has others: a process may have been killed in withLimits.
func (q Quota) restore(h store.Home) error {
	err := q.set(h, q.Limits)
	if errors.Is(err, unix.EROFS) {
		return nil
	}
	return ignoreOff(err)
}

// set gives the project of q the limits l, if it has others.
func (q Quota) set(h store.Home, l quota.Limits) error {
	now, err := q.Project.Limits(h.Diff(""))
	if err != nil || now == l {
		return err
	}
	return q.Project.SetLimits(h.Diff(""), l)
}
