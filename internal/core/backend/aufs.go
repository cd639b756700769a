//go:build linux

package backend

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// AufsBackend mounts with aufs.
type AufsBackend struct {
	store.Stores
	Forms *conversion.Converter
	// Dirperm1 says that the kernel takes the option dirperm1. Without this option, aufs also looks at the permission bits of the
	// directories in lower branches.
	Dirperm1 bool
	// NoDetached says that aufsfs.MountDetached does not work with this kernel's aufs.
	NoDetached atomic.Bool
	// XinoDir is the directory of the external inode number files. Aufs often writes to such a file, and the file need not outlive the
	// mount, so XinoDir is in memory if possible.
	XinoDir string
}

// ProbeAufs makes a trial mount in scratchDir to find out whether aufs can mount layers of the store s.Home, and then of the image stores.
func ProbeAufs(s store.Stores, forms *conversion.Converter, scratchDir string, fsName func(path string) string) (*AufsBackend, error) {
	if nested, err := mountutil.InUserNamespace(); err != nil || nested {
		return nil, errors.Join(err, fmt.Errorf("aufs backend: %w; %s: %w", store.ErrAufsNested, insteadOverlay, store.ErrNotSupported))
	}
	h := s.Home
	if i := strings.IndexAny(string(h), aufsfs.BranchDelimiters); i >= 0 {
		return nil, fmt.Errorf("aufs backend: the path has a %q, which aufs cannot parse in the path of a branch: %w", string(h)[i], store.ErrPrerequisites)
	}
	b := &AufsBackend{Stores: s, Forms: forms, Dirperm1: true, XinoDir: "/dev/shm"}
	b.NoDetached.Store(!aufsfs.HasContext())
	if st, err := os.Stat(b.XinoDir); err != nil || !st.IsDir() || unix.Access(b.XinoDir, unix.W_OK) != nil {
		b.XinoDir = h.Tmp()
	}
	lower := filepath.Join(scratchDir, "lower")
	err := b.trial(scratchDir, lower)
	if (errors.Is(err, unix.EINVAL) || store.HasNoRoom(err)) && b.XinoDir != h.Tmp() {
		// Not every file system can have an xino file, and a full one cannot.
		b.XinoDir = h.Tmp()
		err = b.trial(scratchDir, lower)
	}
	if errors.Is(err, unix.EINVAL) {
		b.Dirperm1 = false
		err = b.trial(scratchDir, lower)
	}
	if err != nil {
		return nil, explainAufs(h, err, fsName)
	}
	return b, b.probeImages(scratchDir, fsName)
}

// probeImages finds out whether aufs can mount layers of the image stores.
func (b *AufsBackend) probeImages(scratchDir string, fsName func(path string) string) error {
	for _, image := range b.Images {
		if i := strings.IndexAny(string(image), aufsfs.BranchDelimiters); i >= 0 {
			return &ImageStoreError{image, fmt.Errorf("the path has a %q, which aufs cannot parse in the path of a branch: %w",
				string(image)[i], store.ErrPrerequisites)}
		}
		err := b.trial(scratchDir, image.Diff(""))
		if errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("aufs does not take %s, which is on %s, as a branch: %w: %w", image.Diff(""), fsName(image.Diff("")), store.ErrIncompatibleFS, err)
		}
		if err != nil {
			return &ImageStoreError{image, err}
		}
	}
	return nil
}

// trial makes a branch in dir, and mounts and unmounts a stack of it and lower.
func (b *AufsBackend) trial(dir, lower string) error {
	for _, name := range []string{"upper", "lower", "mnt"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	branches := BranchesOf(Stack{Layers: []shadow.Shown{{Dir: lower}}}, filepath.Join(dir, "upper"))
	calls, xino, err := b.Calls(branches, MountOptions{}, "")
	if err != nil {
		return err
	}
	target := filepath.Join(dir, "mnt")
	if err := b.Home.Mounting(func() error { return mountCalled(target, calls, 0, xino) }); err != nil {
		return err
	}
	return mountutil.UnmountRetry(target)
}

// insteadOverlay says how to do without aufs.
const insteadOverlay = "the option backend=auto mounts with overlayfs instead"

// explainAufs turns the error of a trial mount into one that says what the host lacks.
func explainAufs(h store.Home, err error, fsName func(path string) string) error {
	switch {
	case store.HasNoRoom(err):
		return fmt.Errorf("aufs backend: a trial mount failed: %w", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("aufs backend: %w, and the kernel has no module aufs; %s: %w: %w",
			store.ErrAufsNotSupported, insteadOverlay, store.ErrNotSupported, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("aufs backend: mounting needs root with the capability CAP_SYS_ADMIN: %w: %w", store.ErrPrerequisites, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("aufs backend: the kernel has aufs, but aufs does not take %s, which is on %s, as a branch: %w: %w",
			h.Diff(""), fsName(h.Diff("")), store.ErrIncompatibleFS, err)
	}
	return fmt.Errorf("aufs backend: a trial mount failed: %w: %w", store.ErrPrerequisites, err)
}

// Name implements Backend.
func (b *AufsBackend) Name() Name { return Aufs }

// Status implements Backend.
func (b *AufsBackend) Status() [][2]string {
	return [][2]string{{"Dirperm1 Supported", strconv.FormatBool(b.Dirperm1)}}
}

// SupportsVolatile implements Backend. Aufs has no such option: see docs/guarantees.md.
func (b *AufsBackend) SupportsVolatile() bool { return false }

// Prepare implements Backend: it converts the layer to aufs form, and makes it usable as aufs's writable branch.
func (b *AufsBackend) Prepare(id string) error {
	if err := b.Forms.ToAufs(id); err != nil {
		return err
	}
	if !shadow.WasWritable(b.Home.Diff(id)) {
		if err := b.Home.Invalidate(id); err != nil {
			return err
		}
	}
	return b.PrepareOwnFiles(id)
}

// Mount implements Backend.
func (b *AufsBackend) Mount(s Stack) error {
	branches, plain := BranchesOf(s, b.Home.Diff(s.ID)), PlainBranches(s, b.Home.Diff(s.ID))
	err := b.mountBranches(s, branches)
	if errors.Is(err, unix.ENOSPC) && len(branches) > len(plain) && len(plain) > 0 {
		logrus.Warnf("aufs: layer %s: the kernel cannot mount %d branches; mounting only the %d layers, without their shadows: a directory "+
			"that is opaque in several layers may show deleted files", s.ID, len(branches), len(plain))
		err = b.mountBranches(s, plain)
	}
	if err != nil {
		return err
	}
	if s.Image {
		return nil
	}
	if err := b.noteMount(s); err != nil {
		return errors.Join(err, mountutil.UnmountRetry(s.Target))
	}
	return nil
}

// mountBranches mounts branches at the target of s.
func (b *AufsBackend) mountBranches(s Stack, branches []aufsfs.Branch) error {
	if aufsfs.PathBytes(branches) > unix.Getpagesize()/2 {
		// Shorter paths save calls, and each call costs the kernel as much as twenty branches.
		short, done, err := ShortPaths(b.Stores, branches)
		if err != nil {
			return err
		}
		defer done()
		branches = short
	}
	calls, xino, err := b.Calls(branches, s.Options, s.Label)
	if err != nil {
		return err
	}
	if len(calls) == 1 {
		return b.Home.Mounting(func() error { return mountCalled(s.Target, calls, s.Options.Flags, xino) })
	}
	return b.mountInSteps(s, branches, calls, xino)
}

// mountInSteps mounts a stack that takes more than one call. A process that is killed between two calls must not leave a mount that lacks
// layers.
func (b *AufsBackend) mountInSteps(s Stack, branches []aufsfs.Branch, calls []aufsfs.Call, xino string) error {
	detached := aufsfs.ErrNotDetached
	if s.Options.Flags&^aufsfs.DetachedFlags == 0 && !b.NoDetached.Load() {
		if detached = b.mountDetached(s, branches); detached == nil {
			return nil
		}
		logrus.Debugf("aufs: layer %s: %v; mounting it in another way", s.ID, detached)
	}
	// MountStaged mounts the stack out of the way, and moves it to its target once it is whole.
	err := b.Home.MountStaged(s.Target, func(at string) error { return mountCalled(at, calls, s.Options.Flags, xino) })
	if err == nil && mountutil.SaysNo(detached) {
		b.NoDetached.Store(true)
	}
	return err
}

// mountDetached is mountInSteps with fsopen(2), which leaves no trace in the store. If a stack is staged in a directory instead, that
// directory makes the next unmount wait for the disk.
func (b *AufsBackend) mountDetached(s Stack, branches []aufsfs.Branch) error {
	xino, options := b.fileSystemOptions(s.Options)
	batches, err := aufsfs.Batches(branches, options, s.Label)
	if err != nil {
		return err
	}
	return b.Home.Mounting(func() error { return aufsfs.MountDetached(s.Target, batches, s.Options.Flags, xino) })
}

// Calls returns the mount calls for branches, and the path of the xino file that the calls name.
func (b *AufsBackend) Calls(branches []aufsfs.Branch, o MountOptions, mountLabel string) (calls []aufsfs.Call, xino string, err error) {
	xino, options := b.fileSystemOptions(o)
	// mount(2) clips its data to a page, including the NUL at the end.
	calls, err = aufsfs.Calls(branches, options, mountutil.ContextOption(mountLabel), unix.Getpagesize()-1)
	return calls, xino, err
}

// fileSystemOptions returns all options of a mount except its branches and its SELinux label, and the path of the xino file that the options name.
func (b *AufsBackend) fileSystemOptions(o MountOptions) (xino string, options []string) {
	// Two mounts with the same xino path make each other fail, even if different processes make them.
	xino = filepath.Join(b.XinoDir, "aufs-xino-"+rand.Text())
	options = []string{"xino=" + xino}
	if !o.Has("dio") {
		options = append(options, "dio")
	}
	if b.Dirperm1 && !o.Has("dirperm1") {
		options = append(options, "dirperm1")
	}
	return xino, append(options, o.Data...)
}

// mountCalled makes the calls: the first one mounts, and the others add branches. If a call fails, nothing stays mounted.
func mountCalled(target string, calls []aufsfs.Call, flags uintptr, xino string) error {
	err := mountutil.Mount("mount", target, "aufs", flags, calls[0].Data)
	aufsfs.RemoveXino(xino)
	if err != nil {
		return err
	}
	for _, call := range calls[1:] {
		err := mountutil.Mount("append branches to", target, "aufs", flags|unix.MS_REMOUNT, call.Data)
		if errors.Is(err, unix.ENOSPC) {
			err = tooManyBranches(target, calls, err)
		}
		if err != nil {
			return errors.Join(err, mountutil.UnmountRetry(target))
		}
	}
	return nil
}

// tooManyBranches explains the ENOSPC of an append: the mount has as many branches as the kernel allows.
func tooManyBranches(target string, calls []aufsfs.Call, err error) error {
	needed := 0
	for _, call := range calls {
		needed += call.Branches
	}
	limit := "fewer"
	if n, cerr := aufsfs.CountBranches(target); cerr == nil {
		limit = strconv.Itoa(n)
	}
	return fmt.Errorf("the stack has %d branches, and this kernel's aufs allows %s: %w", needed, limit, err)
}

// PrepareOwnFiles makes the layer id usable as aufs's writable branch. It renames files that are in the way of aufs's own, and removes
// pseudo-links that earlier mounts have left.
func (b *AufsBackend) PrepareOwnFiles(id string) error {
	root, err := fsutil.OpenReal(b.Home.Diff(id))
	if err != nil {
		return err
	}
	defer root.Close()
	useless, stale, err := whiteout.LookAtOwnFiles(root)
	if err != nil || len(useless) == 0 && len(stale) == 0 {
		return err
	}
	// While a mount is alive, aufs uses these files.
	if used, err := b.Forms.Users.AufsUses(id); err != nil || used {
		return err
	}
	for _, name := range useless {
		if err := whiteout.HideOwnFile(root, name); err != nil {
			return err
		}
	}
	return whiteout.DropPseudoLinks(root, stale)
}

// noteMount records the name that aufs gives its mount of the stack s.
func (b *AufsBackend) noteMount(s Stack) error {
	si, err := aufsfs.MountID(s.Target)
	if err != nil {
		return err
	}
	err = b.Forms.Users.Notes.Add(b.Home, s.ID, si)
	if errors.Is(err, unix.EROFS) && s.Options.ReadOnly() {
		// No layer can change in a read-only store, so no in-use probe needs to know of the mount.
		return nil
	}
	return err
}
