//go:build linux

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/migration"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/removal"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/staging"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
)

// Driver is a graph driver on one store, without a storage library. Several goroutines may call its methods, and several drivers, in one
// process or in many, may work on one store: see internal/core/store/lock.go. The fields and methods that the skins
// do not need are exported for the tests in internal/drivertest.
type Driver struct {
	Home store.Home
	// Stores are Home and the additional image stores.
	Stores  store.Stores
	Backend backend.Backend
	Forms   *conversion.Converter
	// Shifting says which backend shifts owners.
	Shifting *backend.Shifting
	// Shadows finds and makes the shadows for the backend.
	Shadows *shadow.Cache
	// Remover takes layers out of the store, and sweeps what is left of them.
	Remover *removal.Remover
	Library Library
	// IgnoreChownErrors and skipMountHome are as in Config.
	IgnoreChownErrors bool
	skipMountHome     bool
	options           backend.MountOptions
	// limits are those of layers whose own options do not say anything else.
	limits quota.Limits
	// runRoot is the directory where the storage library counts mounts, or "".
	runRoot string
	// mounted counts the users of each mount point in this process. A mount that another process made counts one more user.
	mounted Counter
	// bases counts the users of layers without parents.
	bases baseUses
	// staged are the staging directories that have not been applied to a layer.
	staged staging.Registry[staging.Directory]
	// stagedLayers are the archives that are unpacked, and that no layer has yet.
	stagedLayers staging.Registry[*staging.Layer]
}

// Open opens the store at homePath, or makes a new store there.
func Open(homePath string, c Config) (_ *Driver, err error) {
	defer func() {
		if err != nil {
			err = store.OpError("opening the store "+homePath, err)
		}
	}()
	absolute, err := filepath.Abs(homePath)
	if err != nil {
		return nil, err
	}
	h := store.Home(absolute)
	stores, err := openImageStores(h, c.ImageStores)
	if err != nil {
		return nil, err
	}
	d := &Driver{
		Home:              h,
		Stores:            stores,
		options:           c.Mount,
		limits:            c.Limits,
		IgnoreChownErrors: c.IgnoreChownErrors,
		skipMountHome:     c.SkipMountHome,
		Library:           c.Library,
		Forms:             conversion.New(h, c.RunRoot),
		runRoot:           c.RunRoot,
		mounted:           c.Library.NewCounter(isMounted),
	}
	d.Remover = removal.New(h, d.Forms.Users.Notes)
	made, err := store.Make(h)
	if err != nil {
		store.Unmake(h, made)
		return nil, err
	}
	private, err := mountutil.IsMounted(string(h))
	if err == nil {
		err = d.start(c)
	}
	if err != nil {
		if !private {
			err = errors.Join(err, d.leavePrivate())
		}
		store.Unmake(h, made)
		return nil, err
	}
	return d, nil
}

// CheckImageStore returns an error if the directory at path cannot be an additional image store.
func CheckImageStore(path string) error {
	_, err := store.ImageStore(path)
	return err
}

// openImageStores looks for the additional image stores at paths, and for everything in them that a driver would have to finish. It leaves
// out directories that have no store of the driver, and h itself: a shared storage.conf may list root's graph root for all users, and root
// reads that file too.
func openImageStores(h store.Home, paths []string) (store.Stores, error) {
	s := store.Stores{Home: h}
	for _, path := range paths {
		image, err := store.ImageStore(path)
		if err == nil && (image == "" || isSame(string(h), string(image))) {
			logrus.Debugf("aufs: the additional image store %s has no layers of this driver, or is the graph root itself", path)
			continue
		}
		if err == nil {
			err = migration.Unneeded(image)
		}
		if err != nil {
			return s, store.OpError("opening the additional image store "+path+" of the option imagestore", err)
		}
		if !slices.Contains(s.Images, image) {
			s.Images = append(s.Images, image)
		}
	}
	return s, nil
}

// isSame reports whether a and b are the same directory. One of them need not exist.
func isSame(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// isMounted reports to the counter whether path is a mount point. On error, it assumes that nothing is mounted: the mount that follows
// reports what is wrong.
func isMounted(path string) bool {
	mounted, err := mountutil.IsMounted(path)
	return err == nil && mounted
}

// start probes the host and makes the store ready for use.
func (d *Driver) start(c Config) error {
	if err := d.refuseNFS(); err != nil {
		return err
	}
	strays, err := d.probeAndSweep(c)
	if err != nil {
		return err
	}
	if d.runRoot != "" && d.Backend.Name() == backend.Aufs {
		// A store with no room for the record, or for tmp/, can still be used.
		if err := inuse.RecordRunRoot(d.Home, d.runRoot); err != nil && !store.HasNoRoom(err) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	warn := func(err error) { logrus.Warn(store.OpError("sweeping", err)) }
	// Removing may take long, so it happens without the store lock.
	for _, trash := range strays {
		if err := trash.Remove(); err != nil {
			warn(err)
		}
	}
	if err := d.Remover.RemoveAbandoned(context.Background(), warn); err != nil {
		return err
	}
	if err := d.Stores.RecordImages(); err != nil {
		return err
	}
	return d.Remover.SweepNotes()
}

// refuseNFS returns an error if layers would be on NFS. Aufs takes NFS as a branch, but NFS has only user attributes, so files would lose their
// capabilities, and none of the marks of overlayfs could be read.
func (d *Driver) refuseNFS() error {
	dir := d.Home.Diff("")
	if d.Library.FSName(dir) != "nfs" {
		return nil
	}
	return fmt.Errorf("%s is on NFS, which cannot keep the capabilities of files; layers must be on a local disk: %w", dir, store.ErrIncompatibleFS)
}

func (d *Driver) probeAndSweep(c Config) (strays []*store.Scratch, err error) {
	storeLock, err := d.Home.LockStore()
	if err != nil {
		return nil, err
	}
	defer storeLock.Unlock()
	// The private mount comes before the trial mounts, because it would hide them.
	private := d.makePrivate()
	// The probe reports first: whatever prevents the private mount prevents the trial mount as well, and the probe says more about it.
	if d.Backend, err = d.probe(c.Backend); err != nil {
		return nil, err
	}
	d.Shifting = d.OpenShifting(c.Backend)
	if err := layerquota.CheckLimits(d.Home, d.limits, d.Library.FSName); err != nil {
		return nil, err
	}
	if private != nil {
		return nil, fmt.Errorf("making %s a private mount: %w: %w", string(d.Home), store.ErrPrerequisites, private)
	}
	former, err := migration.Migrate(d.Home, d.runRoot, d.Remover)
	if err != nil {
		return former, err
	}
	strays, err = d.Remover.SweepLayers()
	return append(former, strays...), err
}

// probe returns the backend that was asked for, or an error that says why the host cannot use it.
func (d *Driver) probe(name backend.Name) (backend.Backend, error) {
	switch name {
	case backend.Aufs:
		return d.probeIn(d.probeAufs)
	case backend.Overlay:
		return d.probeIn(d.probeOverlay)
	default:
		b, aufsErr := d.probeIn(d.probeAufs)
		if aufsErr == nil {
			return b, nil
		}
		b, overlayErr := d.probeIn(d.probeOverlay)
		if overlayErr != nil {
			return nil, fmt.Errorf("%w; %w", aufsErr, overlayErr)
		}
		logrus.Debugf("aufs: taking the overlay backend: %v", aufsErr)
		return b, nil
	}
}

func (d *Driver) probeAufs(scratchDir string) (backend.Backend, error) {
	d.Shadows = shadow.New(d.Stores, d.Forms, whiteout.AufsForm, d.runRoot)
	return backend.ProbeAufs(d.Stores, d.Forms, scratchDir, d.Library.FSName)
}

func (d *Driver) probeOverlay(scratchDir string) (backend.Backend, error) {
	d.Shadows = shadow.New(d.Stores, d.Forms, store.OwnForm(), d.runRoot)
	return backend.ProbeOverlay(d.Shadows, scratchDir, d.Library.FSName)
}

// probeIn runs one probe in a scratch directory. If the store is full or read-only, it probes in a temporary directory: a mount there shows
// just as well what the kernel can do. If opening such a store failed, nobody could remove layers from it.
func (d *Driver) probeIn(probe func(scratchDir string) (backend.Backend, error)) (backend.Backend, error) {
	// first is the error of the first place, which is about the store.
	var first error
	var ofImage *backend.ImageStoreError
	for _, newScratch := range []func() (*store.Scratch, error){
		func() (*store.Scratch, error) { return d.Home.BesideDiff().NewScratchLocked("probe") },
		func() (*store.Scratch, error) { return store.NewScratchIn(os.TempDir(), "aufs-probe") },
		func() (*store.Scratch, error) { return store.NewScratchIn("/dev/shm", "aufs-probe") },
	} {
		b, err := probeWith(newScratch, probe)
		switch {
		case err == nil:
			return b, nil
		case first == nil && !store.HasNoRoom(err):
			return nil, err
		case first == nil:
			first = err
		case errors.Is(err, store.ErrNotSupported), errors.Is(err, store.ErrPrerequisites), errors.As(err, &ofImage):
			// Other places would say the same.
			return nil, errors.Join(first, err)
		}
	}
	return nil, first
}

// probeWith runs one probe in a scratch directory from newScratch.
func probeWith(newScratch func() (*store.Scratch, error), probe func(scratchDir string) (backend.Backend, error)) (backend.Backend, error) {
	s, err := newScratch()
	if err != nil {
		return nil, err
	}
	b, err := probe(s.Dir)
	if rerr := s.Remove(); rerr != nil {
		err = errors.Join(err, fmt.Errorf("cleaning up after the trial mount: %w", rerr))
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Status describes the store and the host, in pairs of a name and a value.
func (d *Driver) Status() [][2]string {
	dirs := "unknown"
	if ids, err := d.Home.List(); err == nil {
		dirs = strconv.Itoa(len(ids))
	}
	dType := "unknown"
	if supported, err := d.Library.SupportsDType(string(d.Home)); err == nil {
		dType = strconv.FormatBool(supported)
	}
	status := [][2]string{
		{"Root Dir", string(d.Home)},
		{"Backing Filesystem", d.Library.FSName(d.Home.Diff(""))},
		{"Dirs", dirs},
		{"Backend", string(d.Backend.Name())},
		// The overlay driver has these, by the same names.
		{"Supports d_type", dType},
		{"Native Overlay Diff", "true"},
		{"Using metacopy", "false"},
		{"Supports shifting", strconv.FormatBool(d.SupportsShifting(nil))},
		{"Supports volatile", strconv.FormatBool(d.Backend.SupportsVolatile())},
	}
	return append(status, d.Backend.Status()...)
}

// Metadata returns where the layer's files are. UpperDir is the layer's own directory. LowerDir lists the directories of the ancestors, if
// there are any, nearest first and separated by colons. MergedDir is where Get shows the layer: its mount point or, if it is a layer of home
// without ancestors and is not mounted, its own directory.
func (d *Driver) Metadata(id string) (map[string]string, error) {
	layer, err := d.Stores.Lookup("reading the parents of", id)
	if err != nil {
		return nil, store.LayerError("describing", id, err)
	}
	parents, err := d.Stores.Parents(layer)
	if err != nil {
		return nil, store.LayerError("describing", id, err)
	}
	target := d.Stores.Mnt(layer)
	metadata := map[string]string{"UpperDir": layer.Dir(), "MergedDir": target}
	if len(parents) > 0 {
		lower := make([]string, 0, len(parents))
		for _, parent := range parents {
			lower = append(lower, parent.Dir())
		}
		metadata["LowerDir"] = strings.Join(lower, ":")
	} else if mounted, err := mountutil.IsMounted(target); d.Stores.IsOwn(layer) && (err != nil || !mounted) {
		metadata["MergedDir"] = layer.Dir()
	}
	return metadata, nil
}

// Exists reports whether the layer id is in the store, or in an additional image store.
func (d *Driver) Exists(id string) bool { return d.Stores.Exists(id) }

// ImageStores returns the graph roots of the additional image stores.
func (d *Driver) ImageStores() []string {
	var paths []string
	for _, image := range d.Stores.Images {
		paths = append(paths, image.ImageStore())
	}
	return paths
}

// ListLayers returns the ids of the layers in the store, without those of additional image stores.
func (d *Driver) ListLayers() ([]string, error) { return d.Home.List() }

// makePrivate makes home a private mount, unless the option skip_mount_home forbids it.
func (d *Driver) makePrivate() error {
	if d.skipMountHome {
		return nil
	}
	return d.Home.MakePrivate()
}

// leavePrivate removes the mount that makePrivate has made. With skip_mount_home, a mount of home belongs to somebody else.
func (d *Driver) leavePrivate() error {
	if d.skipMountHome {
		return nil
	}
	return d.Home.LeavePrivate()
}
