//go:build linux

package backend

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Overlayfs takes idmapped mounts as lower directories, since Linux 5.19. It takes only mounts that are attached somewhere in this mount
// namespace. But it makes copies of them for itself, so they are attached in a scratch directory for the moment of the mount. Aufs takes
// idmapped mounts as well, but copies up many files with the owners on the disk (fs/aufs/cpup.c), so layers are not shifted with aufs.

// Namespace makes a user namespace with these maps, and returns it opened.
type Namespace func(maps *idmap.Mappings) (*os.File, error)

// A Mounter is a backend with the shadows that it needs.
type Mounter struct {
	Backend
	Shadows *shadow.Cache
}

// Shifting finds out whether mounts can shift owners, when that is first asked for.
type Shifting struct {
	own       Backend
	name      Name
	probe     func() (Backend, error)
	namespace Namespace
	mu        sync.Mutex // protects found and no
	found     *OverlayBackend
	// no says why no mount of this process can shift owners.
	no error
}

// NewShifting returns the Shifting of a driver. own is the driver's backend, and name the value of the option backend. If own is aufs and
// name is auto, overlayfs mounts the layers whose owners are shifted, and probe finds out whether it can.
func NewShifting(own Backend, name Name, probe func() (Backend, error), namespace Namespace) *Shifting {
	return &Shifting{own: own, name: name, probe: probe, namespace: namespace}
}

// MounterFor returns the backend for a mount with this plan: own, unless owners are to be shifted. If the mount cannot be had, the error
// matches shift.ErrNoShifting.
func (s *Shifting) MounterFor(plan *shift.Plan, own Mounter) (Mounter, error) {
	if !plan.ShiftsAny() {
		return own, nil
	}
	b, err := s.backend()
	if err != nil {
		return Mounter{}, err
	}
	return Mounter{b, b.shadows}, nil
}

// disableVariable is the environment variable that turns shifting off if it is "yes", here and in the library's overlay driver. It is for
// tests, and for hosts whose kernel has faults in idmapped mounts.
const disableVariable = "_CONTAINERS_OVERLAY_DISABLE_IDMAP"

// Supports reports whether MounterFor has a backend for a mount with these maps. Maps without ranges stand for any.
func (s *Shifting) Supports(maps *idmap.Mappings) bool {
	if os.Getenv(disableVariable) == "yes" || !maps.Empty() && maps.Check() != nil {
		return false
	}
	_, err := s.backend()
	return err == nil
}

// backend returns the backend that mounts stacks with other owners than those on the disk. If there is none, the error says why, and matches
// shift.ErrNoShifting.
func (s *Shifting) backend() (*OverlayBackend, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found != nil || s.no != nil {
		return s.found, s.no
	}
	b, err := s.open()
	if err == nil {
		err = b.probeShifting(s.namespace)
	}
	if err == nil {
		s.found = b
		return b, nil
	}
	logrus.Debugf("aufs: owners cannot be shifted by mounts: %v", err)
	never := mountutil.SaysNo(err) || errors.Is(err, store.ErrNotSupported) || errors.Is(err, store.ErrPrerequisites) || errors.Is(err, store.ErrIncompatibleFS)
	err = fmt.Errorf("%w: %w", shift.ErrNoShifting, err)
	if never {
		s.no = err
	}
	return nil, err
}

// open returns the overlay backend.
func (s *Shifting) open() (*OverlayBackend, error) {
	found := s.own
	if found.Name() == Aufs && s.name == Aufs {
		return nil, fmt.Errorf("aufs cannot do that, and the option backend=aufs rules out overlayfs: %w", store.ErrNotSupported)
	}
	if found.Name() == Aufs {
		var err error
		if found, err = s.probe(); err != nil {
			return nil, err
		}
	}
	b, ok := found.(*OverlayBackend)
	if !ok {
		return nil, fmt.Errorf("the backend %s cannot do that: %w", found.Name(), store.ErrNotSupported)
	}
	return b, nil
}

// probeShifting finds out whether the kernel idmaps the directories of all stores, and, by a trial mount, whether overlayfs takes an
// idmapped lower directory. If so, the backend makes its user namespaces by namespace from now on.
func (b *OverlayBackend) probeShifting(namespace Namespace) error {
	nested, err := mountutil.InUserNamespace()
	if err == nil && nested {
		err = fmt.Errorf("this process is in a user namespace, where the kernel lets nobody map the owners of a mount: %w", store.ErrNotSupported)
	}
	if err != nil {
		return err
	}
	scratch, err := b.placeForMounts()
	if err != nil {
		return err
	}
	dir := filepath.Join(scratch.Dir, "trial")
	m := overlayfs.Mount{Target: filepath.Join(dir, "mnt"), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	lower := filepath.Join(dir, "lower")
	for _, made := range []string{m.Target, m.Upper, m.Work, lower} {
		if err := os.MkdirAll(made, 0o700); err != nil {
			return errors.Join(err, scratch.Discard())
		}
	}
	err = b.home.Mounting(func() error { return b.tryShifting(namespace, scratch.Dir, lower, m) })
	if err = errors.Join(err, scratch.Remove()); err == nil {
		b.namespace = namespace
	}
	return err
}

// tryShifting makes the trial mount m of probeShifting.
func (b *OverlayBackend) tryShifting(namespace Namespace, scratch, lower string, m overlayfs.Mount) error {
	// Containers with a user namespace of their own usually have ids from here on.
	const hostID = 100_000
	list := []idmap.Map{{HostID: hostID, Size: 1}}
	ns, err := namespace(&idmap.Mappings{UIDs: list, GIDs: list})
	if err != nil {
		return fmt.Errorf("making a user namespace: %w", err)
	}
	defer ns.Close()
	at := &attached{dir: scratch, namespace: ns, roots: append(b.homes(), lower)}
	defer at.detach()
	for _, dir := range at.roots {
		mapped, err := at.mapped(dir)
		if err != nil {
			return err
		}
		m.Lowers = []string{mapped}
	}
	// The last one is lower. The store itself cannot be a lower directory, because the upper one is in it.
	if err := m.Mount(); err != nil {
		return err
	}
	return mountutil.UnmountRetry(m.Target)
}

// placeForMounts makes a scratch directory in which something can be mounted. If the store is read-only or full, the directory is elsewhere.
func (b *OverlayBackend) placeForMounts() (*store.Scratch, error) {
	s, err := b.home.NewScratch("shift")
	if err != nil && store.HasNoRoom(err) {
		return store.NewScratchIn(os.TempDir(), "aufs-shift")
	}
	return s, err
}

// homes returns the directories of the stores to idmap. Each diff/ comes before its store, because diff/ can be a mount point of its own.
func (b *OverlayBackend) homes() []string {
	homes := append([]store.Home{b.home}, b.shadows.Images...)
	var roots []string
	for _, h := range homes {
		roots = append(roots, h.Diff(""))
	}
	for _, h := range homes {
		roots = append(roots, string(h))
	}
	return roots
}

// shifting calls the function mount to make one mount. mount gets, from its argument, paths in idmapped mounts for the layers that the plan shifts.
// Afterwards, shifting detaches the idmapped mounts.
func (b *OverlayBackend) shifting(plan *shift.Plan, mount func(*attached) error) error {
	if plan == nil || !plan.ShiftsAny() {
		return b.home.Mounting(func() error { return mount(&attached{}) })
	}
	if b.namespace == nil {
		return shift.ErrNoShifting
	}
	ns, err := b.namespace(plan.Maps)
	if err != nil {
		return fmt.Errorf("making a user namespace: %w", err)
	}
	defer ns.Close()
	scratch, err := b.placeForMounts()
	if err != nil {
		return err
	}
	at := &attached{dir: scratch.Dir, plan: plan, namespace: ns, roots: b.homes()}
	err = b.home.Mounting(func() error {
		defer at.detach()
		return mount(at)
	})
	// As in MountStaged, most often there are no mounts left, and a successful rmdir proves that.
	if os.Remove(scratch.Dir) == nil {
		scratch.Release()
	} else if rerr := scratch.Remove(); rerr != nil {
		logrus.Warnf("aufs: removing %s: %v", scratch.Dir, rerr)
	}
	return err
}

// attached are the idmapped mounts for one mount. The zero value has none, and shifts nothing.
type attached struct {
	// dir is the directory in which the mounts are.
	dir       string
	plan      *shift.Plan
	namespace *os.File
	roots     []string
	// at has the mount point of each directory that is mounted.
	at map[string]string
}

// path returns the path of the directory dir, which belongs to a layer, for overlayfs.
func (a *attached) path(dir string, of store.Layer) (string, error) {
	if !a.plan.Shifts(of) {
		return dir, nil
	}
	return a.mapped(dir)
}

// mapped returns the path of the directory dir in an idmapped mount.
func (a *attached) mapped(dir string) (string, error) {
	root, err := a.rootOf(dir)
	if err != nil {
		return "", err
	}
	at, ok := a.at[root]
	if !ok {
		at = filepath.Join(a.dir, strconv.Itoa(len(a.at)))
		if err := os.Mkdir(at, 0o700); err != nil {
			return "", err
		}
		if err := mountutil.AttachIDMapped(root, at, a.namespace); err != nil {
			return "", errors.Join(err, os.Remove(at))
		}
		if a.at == nil {
			a.at = map[string]string{}
		}
		a.at[root] = at
	}
	rel, err := filepath.Rel(root, dir)
	return filepath.Join(at, rel), err
}

// rootOf returns the directory to idmap so that dir can be reached in it. It is dir itself if dir is a mount point, as a layer of
// an image store can be.
func (a *attached) rootOf(dir string) (string, error) {
	if mounted, err := mountutil.IsMounted(dir); err != nil || mounted {
		return dir, err
	}
	for _, root := range a.roots {
		if mountutil.IsBelow(dir, root) {
			return root, nil
		}
	}
	return filepath.Dir(dir), nil
}

// detach takes the mounts away. The copies that overlayfs has made stay.
func (a *attached) detach() {
	for _, at := range a.at {
		err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == nil {
			err = os.Remove(at)
		}
		if err != nil {
			logrus.Debugf("aufs: unmounting %s: %v", at, err)
		}
	}
}
