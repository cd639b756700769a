//go:build linux

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
)

// defaultRootMode is the mode of the root directory of a layer without a parent.
const defaultRootMode = 0o555

// Create makes an empty layer on top of parent, or without a parent if parent is "". The layer appears whole or not at all: a failure
// leaves nothing of it, and the next Init removes what a crash leaves.
//
// The layer's root directory has the owner and mode of the parent's. Without a parent it has mode 0555 and the owner to whom
// opts.IDMappings maps root. The error matches ErrLayerUnknown if there is no such parent, and fs.ErrExist if there already is such a
// layer.
func (d *Driver) Create(id, parent string, opts *CreateOptions) error {
	return d.createIn(whiteout.AufsForm, id, parent, opts)
}

// CreateReadWrite is Create for a layer that is going to be mounted writable. With the overlay backend the layer is in overlay form from
// the start, so that its first mount need not wait for the disk.
func (d *Driver) CreateReadWrite(id, parent string, opts *CreateOptions) error {
	return d.createIn(d.shadows.To, id, parent, opts)
}

// createIn is Create for a layer in form f.
func (d *Driver) createIn(f whiteout.Form, id, parent string, opts *CreateOptions) error {
	if err := store.CheckNewID(id); err != nil {
		return store.LayerError("creating", id, err)
	}
	if opts != nil && len(opts.StorageOpt) > 0 {
		return store.LayerError("creating", id, refusedLayerOptions(opts.StorageOpt))
	}
	rubbish, err := d.createLocked(f, id, parent, opts)
	if rubbish != nil {
		if rerr := rubbish.Remove(); rerr != nil {
			logrus.Warn(store.OpError("sweeping", rerr))
		}
	}
	return err
}

// refusedLayerOptions says why a layer cannot have options of its own.
func refusedLayerOptions(options map[string]string) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(options)) {
		switch name := strings.ToLower(key); name {
		case "size", "inodes":
			errs = append(errs, fmt.Errorf("storage option %s=%s: %w", key, options[key], ErrNoQuotas))
		default:
			errs = append(errs, fmt.Errorf("storage option %s=%s: layers have no such option", key, options[key]))
		}
	}
	return errors.Join(errs...)
}

// createLocked is Create under the store lock. rubbish is what was left of an earlier layer of that name; the caller has to remove it.
func (d *Driver) createLocked(f whiteout.Form, id, parent string, opts *CreateOptions) (rubbish *store.Scratch, err error) {
	storeLock, err := d.home.LockStore()
	if err != nil {
		return nil, store.LayerError("creating", id, err)
	}
	defer storeLock.Unlock()
	absent, err := d.home.Absent(id)
	if err == nil && !absent {
		err = &fs.PathError{Op: "create", Path: d.home.Layers(id), Err: fs.ErrExist}
	}
	if err != nil {
		return nil, store.LayerError("creating", id, err)
	}
	parents, err := d.lineage(id, parent)
	if err == nil {
		err = d.notBelow(id, parents)
	}
	if err != nil {
		return nil, err
	}
	rubbish, err = d.remover.SweepLayer(id)
	if err != nil {
		return rubbish, store.LayerError("creating", id, fmt.Errorf("removing the rest of an earlier layer with this id: %w", err))
	}
	if err := d.create(f, id, parents, opts); err != nil {
		return rubbish, store.LayerError("creating", id, err)
	}
	return rubbish, nil
}

// CreateFromTemplate makes a layer with the content of the layer template. The new layer is a child of template, so making it takes neither
// time nor space.
func (d *Driver) CreateFromTemplate(id, template string, opts *CreateOptions, readWrite bool) error {
	if readWrite {
		return d.CreateReadWrite(id, template, opts)
	}
	return d.Create(id, template, opts)
}

// lineage returns the ancestors that a layer id made on top of parent has, nearest first.
func (d *Driver) lineage(id, parent string) ([]store.Layer, error) {
	if parent == "" {
		return nil, nil
	}
	if err := store.CheckID(parent); err != nil {
		return nil, store.LayerError("creating", id, fmt.Errorf("parent %q: %w", parent, err))
	}
	if !d.stores.Exists(parent) {
		return nil, store.LayerError("creating", id, fmt.Errorf("parent %s: %w", parent, store.ErrLayerUnknown))
	}
	nearest, err := d.stores.Lookup("using", parent)
	if err != nil {
		return nil, store.LayerError("creating", id, err)
	}
	ancestors, err := d.stores.Parents(nearest)
	if err != nil {
		return nil, store.LayerError("creating", id, err)
	}
	return append([]store.Layer{nearest}, ancestors...), nil
}

// notBelow returns an error if home cannot have a layer id on top of parents because there is one in an additional image store: parents are on
// top of that, or a layer of home is, which would show other content.
func (d *Driver) notBelow(id string, parents []store.Layer) error {
	image := d.stores.Find(id, d.home)
	if slices.Contains(idsOf(parents), id) {
		return store.LayerError("creating", id, fmt.Errorf("the parent is on top of the layer of that name in %s: %w", image.Home.ImageStore(), fs.ErrExist))
	}
	if d.stores.IsOwn(image) {
		return nil
	}
	ids, err := d.home.List()
	if err != nil {
		return store.LayerError("creating", id, err)
	}
	for _, above := range ids {
		// A layer that cannot be read depends on nothing.
		if ancestors, err := d.home.WrittenParents(above); err == nil && slices.Contains(ancestors, id) {
			return store.LayerError("creating", id, fmt.Errorf("the layer %s is on top of the layer of that name in the additional image store %s: %w",
				above, image.Home.ImageStore(), fs.ErrExist))
		}
	}
	return nil
}

// create makes the directories of a layer and the record of the form f. It makes layers/<id> last: from then on the layer exists.
func (d *Driver) create(f whiteout.Form, id string, parents []store.Layer, opts *CreateOptions) (err error) {
	root, err := d.rootOf(parents, opts)
	if err != nil {
		return err
	}
	var made []string
	defer func() {
		if err != nil {
			for _, dir := range made {
				err = errors.Join(err, os.Remove(dir))
			}
		}
	}()
	for _, dir := range []string{d.home.Diff(id), d.home.Mnt(id)} {
		isMade, err := root.make(dir)
		if isMade {
			made = append(made, dir)
		}
		if err != nil {
			return err
		}
	}
	syncForm := func() error { return nil }
	if f != whiteout.AufsForm && len(parents) > 0 {
		if syncForm, err = d.home.LinkForm(id, store.FormRecord{Form: f}); err != nil {
			return err
		}
		made = append(made, d.home.Overlay(store.FormDir, id))
	}
	file, err := fsutil.StageFile(d.home.Tmp(), store.FormatParents(idsOf(parents)))
	if err != nil {
		return err
	}
	// After a crash, a layer that exists must have its directory as well. These syncs are quick: StageFile has made the file durable, and
	// on most file systems that also wrote everything done before.
	if err := errors.Join(fsutil.SyncDir(d.home.Diff("")), syncForm()); err != nil {
		return errors.Join(err, file.Discard())
	}
	return file.Commit(d.home.Layers(id))
}

// idsOf returns the ids of layers.
func idsOf(layers []store.Layer) []string {
	ids := make([]string, 0, len(layers))
	for _, layer := range layers {
		ids = append(ids, layer.ID)
	}
	return ids
}

// rootDir is the mode and owner of a layer's new root directory.
type rootDir struct {
	mode     fs.FileMode
	uid, gid int
}

// make makes the directory dir so. isMade reports whether the directory exists after an error.
func (r rootDir) make(dir string) (isMade bool, err error) {
	if err := fsutil.MkdirWithoutACL(dir, 0o700); err != nil {
		return false, err
	}
	return true, r.set(dir)
}

// set gives the directory dir this mode and owner.
func (r rootDir) set(dir string) error {
	// The owner comes first: changing the owner clears bits of the mode.
	if err := os.Lchown(dir, r.uid, r.gid); err != nil {
		return err
	}
	return os.Chmod(dir, r.mode)
}

// rootDirAt returns the mode and owner of the directory dir.
func rootDirAt(dir string) (rootDir, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return rootDir{}, err
	}
	const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	st := fsutil.StatOf(info)
	return rootDir{mode: info.Mode() & bits, uid: int(st.Uid), gid: int(st.Gid)}, nil
}

func (d *Driver) rootOf(parents []store.Layer, opts *CreateOptions) (rootDir, error) {
	if len(parents) > 0 {
		root, err := rootDirAt(parents[0].Dir())
		if err != nil {
			return rootDir{}, fmt.Errorf("reading the directory of the parent %s: %w", parents[0].ID, err)
		}
		return root, nil
	}
	root := rootDir{mode: defaultRootMode}
	if opts != nil && opts.IDMappings != nil {
		pair := opts.IDMappings.Root()
		root.uid, root.gid = pair.UID, pair.GID
	}
	return root, nil
}

// Remove unmounts the layer, whoever uses it, and removes it with all its files. If the mount stays busy, the layer keeps all its data, and
// the error says what to look for. A copy of the mount in another mount namespace does not prevent the removal, since the copy could stay
// forever. An id that is not in home is no error, not even if an image store has it: the library removes whatever a failed Create may have left,
// and cannot open its store if that fails.
func (d *Driver) Remove(id string) error {
	clean, err := d.DeferredRemove(id)
	if err != nil {
		return err
	}
	return clean()
}

// DeferredRemove is Remove, except that the layer's files stay until the caller calls clean. The layer no longer exists when DeferredRemove
// returns. clean can be called even if err is not nil. If clean is never called, or fails, the next Init deletes the files.
func (d *Driver) DeferredRemove(id string) (clean func() error, err error) {
	nothing := func() error { return nil }
	if err := store.CheckID(id); err != nil {
		return nothing, store.LayerError("removing", id, err)
	}
	lock, err := d.home.LockID(id)
	if err != nil {
		return nothing, store.LayerError("removing", id, err)
	}
	defer lock.Unlock()
	// Unmount while the layer is whole: a busy layer keeps its data.
	if err := d.remover.ClearMounts(id); err != nil {
		return nothing, store.LayerError("removing", id, err)
	}
	trash, left, err := d.remover.TakeOut(id)
	if err != nil {
		return nothing, store.LayerError("removing", id, err)
	}
	d.bases.forget(id)
	return func() error {
		err := left
		if trash != nil {
			err = errors.Join(left, trash.Remove())
		}
		if err != nil {
			return store.LayerError("removing the files of", id, err)
		}
		return nil
	}, nil
}
