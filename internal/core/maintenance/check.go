//go:build linux

package maintenance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/removal"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// ProblemKind says what a Problem is about.
type ProblemKind string

// The kinds of problems that Check finds.
const (
	// DamagedParents: a layers/<id> is wrong, so the layer cannot be mounted. If the file was cut short, and the files of the layer's
	// parent or children contain the rest, Repair restores it.
	DamagedParents ProblemKind = "damaged parents"
	// SuspectBase: a layer without parents has a file of aufs's own. Aufs makes this file in each layer that it writes to, and Put removes it
	// from layers without parents. So the layer's layers/<id> may have been emptied.
	SuspectBase ProblemKind = "suspect base"
	// MissingDirectory: a layer has no diff/<id>, and its files are lost, or no mnt/<id>, which Repair makes.
	MissingDirectory ProblemKind = "missing directory"
	// Orphan: something belongs to a layer that is not in the store. Repair removes it.
	Orphan ProblemKind = "orphan"
	// Leftover: an interrupted operation has left a scratch directory or a temporary file. Repair removes it.
	Leftover ProblemKind = "leftover"
	// StaleMount: something is mounted at the mount point of a layer that is not in the store. Repair unmounts it.
	StaleMount ProblemKind = "stale mount"
	// WrongForm: a layer in aufs form has whiteouts or opaque marks of overlay form. They mean nothing to aufs, and a container may have
	// made them on purpose.
	WrongForm ProblemKind = "wrong form"
	// Foreign: the store has something in it that no driver puts there.
	Foreign ProblemKind = "foreign"
)

// Problem is something that is wrong with a store.
type Problem struct {
	Kind ProblemKind
	// Layer is the id of the layer that has the problem, or "".
	Layer string
	// Path is the file that has the problem.
	Path string
	// Detail says more.
	Detail string
}

func (p Problem) String() string {
	text := string(p.Kind) + ": "
	if p.Layer != "" {
		text += "layer " + p.Layer + ": "
	}
	return text + p.Path + ": " + p.Detail
}

// Check looks for problems in the store at home, a driver's home directory. It changes nothing and mounts nothing, and the store may be in
// use. Check skips everything that somebody is working on at that time.
//
// An error means that Check could not look at a part of the store, or that ctx ended. Even then, Check returns the problems that it has
// found.
func Check(ctx context.Context, home string) ([]Problem, error) {
	const op = "checking the store "
	c, err := newCheck(home)
	if err != nil {
		return nil, store.OpError(op+home, err)
	}
	if err := c.run(ctx); err != nil {
		return c.problems, store.OpError(op+home, err)
	}
	return c.problems, nil
}

// checker has the state of one call of Check, Repair or Convert.
type checker struct {
	home store.Home
	// stores has the additional image stores as well: layers of home can be on top of theirs. Nothing there is checked or changed.
	stores   store.Stores
	forms    *conversion.Converter
	remover  *removal.Remover
	ids      []string
	problems []Problem
}

func newCheck(path string) (*checker, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	h := store.Home(absolute)
	for _, dir := range []string{h.Layers(""), h.Diff("")} {
		if err := fsutil.RealDirectory(dir); err != nil {
			return nil, fmt.Errorf("the directory is no store: %w", err)
		}
	}
	if err := errors.Join(h.RealDirectories(), h.RightMounts()); err != nil {
		return nil, err
	}
	stores, err := h.WithRecorded()
	if err != nil {
		return nil, fmt.Errorf("aufs: %w", err)
	}
	forms := conversion.New(h, "")
	return &checker{home: h, stores: stores, forms: forms, remover: removal.New(h, forms.Users.Notes)}, nil
}

func (c *checker) add(kind ProblemKind, layer, path, format string, args ...any) {
	c.problems = append(c.problems, Problem{kind, layer, path, fmt.Sprintf(format, args...)})
}

func (c *checker) run(ctx context.Context) error {
	if err := c.names(); err != nil {
		return err
	}
	if err := c.mounts(); err != nil {
		return err
	}
	var errs []error
	for _, id := range c.ids {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := c.whileIdle(id, func() error { return c.layer(ctx, id) }); err != nil {
			errs = append(errs, store.LayerError("checking", id, err))
		}
	}
	return errors.Join(errs...)
}

// names checks the names in the store's directories, while nobody can make or remove a layer. If the lock file was never made, names does
// not make it. If somebody makes the file meanwhile, names starts again.
func (c *checker) names() error {
	path := c.home.Overlay(store.StoreLock)
	storeLock, err := fsutil.LockPath(path, os.O_RDONLY|unix.O_NOFOLLOW, unix.LOCK_EX)
	if err == nil {
		defer storeLock.Unlock()
		return c.namesLocked()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("taking the lock of the store: %w", err)
	}
	err = c.namesLocked()
	if _, serr := os.Lstat(path); errors.Is(serr, fs.ErrNotExist) {
		return err
	}
	c.ids, c.problems = nil, nil
	return c.names()
}

// namesLocked does the work of names. The caller has taken the lock, unless there is no lock file.
func (c *checker) namesLocked() error {
	h := c.home
	entries, err := os.ReadDir(h.Layers(""))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			c.add(Foreign, "", h.Layers(entry.Name()), "not a regular file, and so not a layer")
			continue
		}
		c.ids = append(c.ids, entry.Name())
	}
	for _, id := range c.ids {
		c.lineage(id)
	}
	strays, err := c.remover.Strays()
	if err != nil {
		return err
	}
	for _, id := range strays {
		for _, path := range c.home.Belongings(id) {
			if _, err := os.Lstat(path); err == nil {
				c.add(Orphan, id, path, "there is no such layer")
			}
		}
	}
	return c.scratch()
}

// lineage checks the parents of a layer, and its directories.
func (c *checker) lineage(id string) {
	h := c.home
	parents, err := c.stores.Parents(c.stores.Own(id))
	if err != nil {
		c.add(DamagedParents, id, h.Layers(id), "%v", err)
	}
	for _, parent := range parents {
		if !parent.Exists() {
			c.add(DamagedParents, id, h.Layers(id), "names the layer %s, which is not in the store", parent.ID)
		}
	}
	for _, dir := range []string{h.Diff(id), h.Mnt(id)} {
		info, err := os.Lstat(dir)
		switch {
		case err != nil:
			c.add(MissingDirectory, id, dir, "%v", err)
		case !info.IsDir():
			c.add(MissingDirectory, id, dir, "not a directory")
		}
	}
}

// scratch looks for leftovers and foreign files in the directories of scratch directories.
func (c *checker) scratch() error {
	for _, a := range c.home.Areas() {
		if err := c.scratchIn(a.Tmp()); err != nil {
			return err
		}
	}
	return nil
}

// scratchIn is scratch for the scratch directories in tmp.
func (c *checker) scratchIn(tmp string) error {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return fsutil.IgnoreGone(err)
	}
	for _, entry := range entries {
		path := filepath.Join(tmp, entry.Name())
		if strings.HasPrefix(entry.Name(), fsutil.AtomicPrefix) {
			c.add(Leftover, "", path, "an interrupted write of a record has left this")
			continue
		}
		if !entry.IsDir() {
			c.add(Foreign, "", path, "not a directory")
			continue
		}
		lock, err := fsutil.TryLockDir(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if lock != nil {
			lock.Unlock()
			c.add(Leftover, "", path, "an interrupted operation has left this")
		}
	}
	return nil
}

// mounts looks for mounts of layers that are gone.
func (c *checker) mounts() error {
	h := c.home
	mounts, err := mountutil.MountsUnder(h.Mnt(""))
	if err != nil {
		return err
	}
	resolved, err := filepath.EvalSymlinks(h.Mnt(""))
	if err != nil {
		return fsutil.IgnoreGone(err)
	}
	for _, m := range mounts {
		id, _, _ := strings.Cut(strings.TrimPrefix(m.Mountpoint, resolved+"/"), "/")
		if h.Exists(id) || id == store.BesideName {
			// Layers of image stores are mounted in the directory with this name.
			continue
		}
		err := c.whileIdle(id, func() error {
			// Look again: a Remove of the layer may just have ended.
			if mounted, err := mountutil.IsMounted(m.Mountpoint); err != nil || !mounted || h.Exists(id) {
				return err
			}
			c.add(StaleMount, id, m.Mountpoint, "%s is mounted there, and there is no such layer", m.FSType)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", m.Mountpoint, err)
		}
	}
	return nil
}

// whileIdle calls look with the lock of the layer id held, or does nothing if somebody else holds the lock. If the lock file was never
// made, whileIdle does not make it. If somebody makes the file while look runs, or the layer comes or goes, whileIdle drops the problems
// that look has found.
func (c *checker) whileIdle(id string, look func() error) error {
	h := c.home
	path := h.Overlay(store.LockDirName, id)
	lock, err := fsutil.OrNil(fsutil.LockPath(path, os.O_RDONLY|unix.O_NOFOLLOW, unix.LOCK_EX|unix.LOCK_NB))
	if err == nil && lock == nil {
		return nil
	}
	if err == nil {
		defer lock.Unlock()
		return look()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	found, existed := len(c.problems), h.Exists(id)
	err = look()
	if _, serr := os.Lstat(path); !errors.Is(serr, fs.ErrNotExist) || h.Exists(id) != existed {
		c.problems = c.problems[:found]
		return nil
	}
	return err
}

// layer checks the content of one layer that nobody is working on.
func (c *checker) layer(ctx context.Context, id string) error {
	h := c.home
	mounted, err := mountutil.IsMounted(h.Mnt(id))
	if err != nil || mounted || !h.Exists(id) {
		return err
	}
	c.records(id)
	f, err := h.Form(id)
	if err != nil {
		c.add(Foreign, id, h.Overlay(store.FormDir, id), "%v", err)
		return nil
	}
	if f == whiteout.AufsForm {
		if err := c.content(ctx, id, "."); err != nil {
			return fsutil.IgnoreGone(err)
		}
	}
	parents, err := h.WrittenParents(id)
	if err == nil && len(parents) == 0 && shadow.WasWritable(h.Diff(id)) {
		c.add(SuspectBase, id, h.Layers(id), "the layer has no parents, and was a branch that aufs wrote to")
	}
	return nil
}

// content looks for marks of overlay form in the directory rel of the layer id, and below it.
func (c *checker) content(ctx context.Context, id, rel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	below, err := c.contentOf(id, rel)
	if err != nil {
		return err
	}
	for _, name := range below {
		if err := c.content(ctx, id, filepath.Join(rel, name)); fsutil.IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// contentOf is content for the directory rel without the directories in it. below are their names.
func (c *checker) contentOf(id, rel string) (below []string, err error) {
	dir, err := fsutil.OpenBelow(c.home.Diff(id), rel)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.List()
	if err != nil {
		return nil, err
	}
	names, err := fsutil.ListXattrs(dir.Reach("."))
	if err != nil {
		return nil, dir.Named(err)
	}
	for _, f := range []whiteout.Form{whiteout.OverlayTrusted, whiteout.OverlayUser} {
		if name := f.XattrPrefix() + "opaque"; slices.Contains(names, name) {
			c.add(WrongForm, id, dir.Path, "has the attribute %s, with which overlayfs marks an opaque directory", name)
		}
	}
	for _, entry := range entries {
		if rel == "." && whiteout.IsOwnFile(entry.Name()) {
			continue
		}
		if entry.IsDir() {
			below = append(below, entry.Name())
		}
		if entry.Type()&fs.ModeCharDevice == 0 {
			continue
		}
		if info, err := dir.Lstat(entry.Name()); err == nil && whiteout.IsOverlay(info) {
			c.add(WrongForm, id, dir.PathOf(entry.Name()), "a character device 0/0, as whiteouts of overlayfs are")
		}
	}
	return below, nil
}
