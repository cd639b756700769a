//go:build linux

package backend

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// OverlayBackend mounts with overlayfs. The layer that is written to is converted to overlay form, and keeps it. Ancestors in aufs form are
// mounted as they are, between shadows.
type OverlayBackend struct {
	home    store.Home
	forms   *conversion.Converter
	shadows *shadow.Cache
	// Form is the overlay form that this process can mount.
	Form whiteout.Form
	// Volatile says that the kernel takes the option volatile, as Linux 5.10 and later do.
	Volatile bool
	// namespace makes the user namespaces for idmapped mounts. It is nil until a Shifting has found out that they work.
	namespace Namespace
}

// ProbeOverlay makes a trial mount in scratchDir to find out whether overlayfs can mount layers of the stores that s is for.
func ProbeOverlay(s *shadow.Cache, scratchDir string, fsName func(path string) string) (*OverlayBackend, error) {
	h := s.Home
	nested, err := mountutil.InUserNamespace()
	if err != nil {
		return nil, fmt.Errorf("overlay backend: %w", err)
	}
	if !nested && os.Geteuid() != 0 {
		return nil, explainOverlay(h, nested, unix.EPERM, fsName)
	}
	b := &OverlayBackend{home: h, forms: s.Forms, shadows: s, Form: s.To, Volatile: overlayfs.KernelMayBeVolatile()}
	dir := filepath.Join(scratchDir, "volatile")
	if b.Volatile {
		err = b.trial(dir)
		// The kernel may have refused only the option, so try again without it.
		b.Volatile = err == nil || store.HasNoRoom(err)
	}
	if !b.Volatile {
		dir = filepath.Join(scratchDir, "ordinary")
		err = b.trial(dir)
	}
	if err != nil {
		return nil, explainOverlay(h, nested, err, fsName)
	}
	return b, b.probeImages(dir, fsName)
}

// probeImages finds out whether overlayfs can mount layers of the image stores. It mounts in the directory of a trial.
func (b *OverlayBackend) probeImages(dir string, fsName func(path string) string) error {
	for _, image := range b.shadows.Images {
		m := overlayfs.Mount{
			Target: filepath.Join(dir, "mnt"), Lowers: []string{image.Diff("")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
			UserXattr: b.Form == whiteout.OverlayUser,
		}
		if err := overlayfs.ForgetVolatile(m.Work); err != nil {
			return &ImageStoreError{image, err}
		}
		err := b.home.Mounting(m.Mount)
		if err == nil {
			err = mountutil.UnmountRetry(m.Target)
		} else {
			err = fmt.Errorf("overlayfs does not take %s, which is on %s, as a lower directory: %w: %w",
				image.Diff(""), fsName(image.Diff("")), store.ErrIncompatibleFS, err)
		}
		if err != nil {
			return &ImageStoreError{image, err}
		}
	}
	return nil
}

// errWhiteouts says that the marks that layers need do not work there, whether or not overlayfs can be mounted.
var errWhiteouts = errors.New("whiteouts and opaque directories of overlayfs do not work there")

// trial mounts, in dir, a layer with a whiteout and an opaque directory, and checks that they hide what they should.
func (b *OverlayBackend) trial(dir string) error {
	m := overlayfs.Mount{
		Target: filepath.Join(dir, "mnt"), Lowers: []string{filepath.Join(dir, "lower")},
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), UserXattr: b.Form == whiteout.OverlayUser, Volatile: b.Volatile,
	}
	for _, sub := range []string{"mnt", "lower/deleted", "lower/opaque/hidden", "upper/opaque", "work"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mknod(filepath.Join(m.Upper, "deleted"), unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("%w: making a whiteout, a character device 0/0: %w", errWhiteouts, err)
	}
	if err := fsutil.PathXattrs(filepath.Join(m.Upper, "opaque")).Set(b.Form.XattrPrefix()+"opaque", []byte("y"), 0); err != nil {
		return err
	}
	if err := b.home.Mounting(m.Mount); err != nil {
		return err
	}
	_, deleted := os.Lstat(filepath.Join(m.Target, "deleted"))
	_, hidden := os.Lstat(filepath.Join(m.Target, "opaque", "hidden"))
	if err := mountutil.UnmountRetry(m.Target); err != nil {
		return err
	}
	if !errors.Is(deleted, os.ErrNotExist) || !errors.Is(hidden, os.ErrNotExist) {
		return errWhiteouts
	}
	return nil
}

// explainOverlay turns the error of a trial mount into one that says what the host lacks.
func explainOverlay(h store.Home, nested bool, err error, fsName func(path string) string) error {
	switch {
	case store.HasNoRoom(err):
		return fmt.Errorf("overlay backend: a trial mount failed: %w", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("overlay backend: the kernel has no overlayfs: %w: %w", store.ErrNotSupported, err)
	case nested && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL)):
		return fmt.Errorf("overlay backend: this user namespace cannot mount overlayfs on %s; "+
			"mounting needs Linux 5.11 or newer, and a mount namespace that was made in the user namespace: %w: %w", fsName(h.Diff("")), store.ErrPrerequisites, err)
	case !errors.Is(err, errWhiteouts) && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)):
		return fmt.Errorf("overlay backend: mounting needs root with the capability CAP_SYS_ADMIN: %w: %w", store.ErrPrerequisites, err)
	}
	return fmt.Errorf("overlay backend: overlayfs does not take %s, which is on %s, as an upper directory: %w: %w",
		h.Diff(""), fsName(h.Diff("")), store.ErrIncompatibleFS, err)
}

// Name implements Backend.
func (b *OverlayBackend) Name() Name { return Overlay }

// Status implements Backend.
func (b *OverlayBackend) Status() [][2]string {
	return [][2]string{
		{"Dirperm1 Supported", "false"},
		{"Overlay Attributes", string(b.Form) + ".overlay"},
	}
}

// SupportsVolatile implements Backend.
func (b *OverlayBackend) SupportsVolatile() bool { return b.Volatile }

// Prepare implements Backend: it converts the layer to overlay form.
func (b *OverlayBackend) Prepare(id string) error {
	return b.forms.ToOverlay(id, b.Form, func() bool { return b.shadows.Unmarked(id) })
}

// MostLowers is the largest number of lower directories that overlayfs takes (OVL_MAX_STACK in fs/overlayfs of the kernel).
const MostLowers = 500

// Mount implements Backend.
func (b *OverlayBackend) Mount(s Stack) error {
	m := overlayfs.Mount{Target: s.Target, Flags: s.Options.Flags, Label: s.Label, UserXattr: b.Form == whiteout.OverlayUser}
	if !s.Options.ReadOnly() {
		m.Upper, m.Work, m.Volatile = b.home.Diff(s.ID), WorkDir(b.home, s.ID), s.Options.Volatile
		if err := b.readyWork(s.ID, m); err != nil {
			return err
		}
	}
	return b.shifting(s.Options.Shift, func(at *attached) error {
		var err error
		if m.Lowers, err = lowersOf(s.Layers, at.path); err != nil {
			return err
		}
		return b.mountOn(s, m)
	})
}

// mountOn makes the mount m of the stack s. m already has the lower directories of the stack's layers.
func (b *OverlayBackend) mountOn(s Stack, m overlayfs.Mount) error {
	var err error
	if s.Options.ReadOnly() && !s.Image {
		err = b.addWatch(&m, s.ID)
	}
	if err == nil {
		err = b.addFewest(&m)
	}
	if err != nil {
		return err
	}
	if n := len(m.Lowers); n > MostLowers {
		return fmt.Errorf("the mount has %d read-only layers, which are %d directories with their shadows, and overlayfs takes at most %d: %w",
			len(s.Layers), n, MostLowers, unix.EINVAL)
	}
	return m.Mount()
}

// LowersOf returns the directories of layers and their shadows, top to bottom.
func LowersOf(layers []shadow.Shown) []string {
	lowers, _ := lowersOf(layers, func(dir string, _ store.Layer) (string, error) { return dir, nil }) // it returns no error
	return lowers
}

// lowersOf is LowersOf, but replaces each directory by the path that the function path returns.
func lowersOf(layers []shadow.Shown, path func(dir string, of store.Layer) (string, error)) ([]string, error) {
	lowers := make([]string, 0, len(layers)+2)
	for n, layer := range layers {
		above := layer.Above
		if n > 0 && layers[n-1].Joined {
			above = ""
		}
		for _, dir := range []string{above, layer.Dir, layer.Below} {
			if dir == "" {
				continue
			}
			lower, err := path(dir, layer.Layer)
			if err != nil {
				return nil, err
			}
			lowers = append(lowers, lower)
		}
	}
	return lowers, nil
}

// addFewest adds an empty lower directory if there are too few: overlayfs needs one lower directory if there is an upper directory, and two
// otherwise.
func (b *OverlayBackend) addFewest(m *overlayfs.Mount) error {
	if len(m.Lowers) > 1 || len(m.Lowers) == 1 && m.Upper != "" {
		return nil
	}
	empty := b.home.Overlay(store.EmptyDir)
	err := makeDir(empty)
	if errors.Is(err, unix.EROFS) {
		empty, err = m.Target, nil
	}
	m.Lowers = append(m.Lowers, empty)
	return err
}

// makeDir makes one of the driver's own directories, and the directories that contain it, unless it exists.
func makeDir(dir string) error {
	err := unix.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

// addWatch gives the read-only mount m of the layer id an upper directory. Only the in-use probe needs it: it finds out by this directory
// whether the mount, or a copy of the mount in another mount namespace, is alive.
func (b *OverlayBackend) addWatch(m *overlayfs.Mount, id string) error {
	m.Upper, m.Work = b.home.Watch(id), filepath.Join(filepath.Dir(b.home.Watch(id)), "work")
	err := makeDir(m.Upper)
	if err == nil {
		err = makeDir(m.Work)
	}
	if err == nil {
		// This directory is the root of the mount, and may still have the metadata of an earlier mount's root.
		err = whiteout.DropMetadata(m.Upper, b.Form)
	}
	if err == nil {
		err = whiteout.CopyDirMetadata(m.Lowers[0], b.Form, m.Upper)
	}
	if errors.Is(err, unix.EROFS) {
		// No layer can change in a read-only store, so no in-use probe needs to know of the mount.
		m.Upper, m.Work = "", ""
		return nil
	}
	return err
}
