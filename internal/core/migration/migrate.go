//go:build linux

package migration

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/removal"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// Before layers had forms, this driver converted a layer to overlay form for each overlay mount, and back to aufs form after it. A store of
// that time has the following in overlay/ (names that begin with ../ are in home):
//
//	mark/<id>           the layer is in overlay form, wholly or in part: a symbolic link to FORM or FORM:LOWERS, or a file with that content
//	trace/<boot>/<id>   the layer was in overlay form during that boot of the kernel, and may be so on the disk: a symbolic link to FORM
//	aside/<id>/         aufs's own files of a layer in overlay form
//	twin/, run/, old/   copies that overlay mounts had in the place of layers; also in the area in diff (see store.Area)
//	../whiteouts/       the cache of the aufs backend, which is in overlay/shadow now
//	synced/             which entries of trace/ are durable
//	used/, forgotten/, generation   which layers and stacks the copies were made from, and which copies are valid
//	whiteout            a whiteout of overlay form, to which others were hard links
//
// The first Init of this version records the forms of layers that mark/ and trace/ name, and then removes all of the above. A directory
// that a live mount may have as a branch stays until the first Init after that mount is gone.

// The names in overlay/. No mount uses formerFiles, but a mount may still use formerDirs.
var (
	formerFiles = []string{"mark", "trace", "synced", "aside", "used", "forgotten", "generation", "whiteout"}
	formerDirs  = []string{"twin", "run", "old"}
)

// formerWhiteouts is the name in home of the former cache of the aufs backend.
const formerWhiteouts = "whiteouts"

// A Migration brings one store to the current layout.
type Migration struct {
	Home    store.Home
	remover *removal.Remover
	// users is a probe for a caller that holds the store lock.
	users *inuse.Probe
}

// Migrate does what the comment at the top says, for Init, Repair and Convert. The caller holds the store lock. After unlocking it, the caller
// removes the scratch directories that Migrate returns.
func Migrate(h store.Home, runRoot string, remover *removal.Remover) ([]*store.Scratch, error) {
	m := Migration{h, remover, inuse.NewProbe(h, runRoot)}
	m.users.NewScratch = func(purpose string) (*store.Scratch, error) { return h.BesideDiff().NewScratchLocked(purpose) }
	trash, err := m.run()
	if err != nil {
		return trash, store.OpError("converting the store of an earlier version of the driver", err)
	}
	return trash, nil
}

func (m Migration) run() ([]*store.Scratch, error) {
	files, dirs := m.Former()
	if len(files)+len(dirs) == 0 {
		return nil, nil
	}
	forms, err := m.formerForms()
	if err != nil {
		return nil, err
	}
	if unix.Access(string(m.Home), unix.W_OK) == unix.EROFS && len(forms) == 0 {
		// Nothing can be removed from a read-only store. There are no forms to record, so everything that is left is a cache that nobody
		// reads.
		return nil, nil
	}
	alive, err := m.recordForms(forms)
	if err != nil {
		return nil, err
	}
	if !alive {
		if alive, err = m.mountAlive(); err != nil {
			return nil, err
		}
	}
	if !alive {
		files = append(files, dirs...)
	}
	if len(files) == 0 {
		return nil, nil
	}
	// The earlier version may have run after this one, and may have changed layers without invalidating this version's cache. So remove
	// that cache as well.
	return m.moveOut(append(files, m.Home.Overlay(store.KnownDir)))
}

// Unneeded returns an error if the store at h, in which nothing may be changed, has layers whose forms Migrate would have to record. If Migrate
// would only have caches to remove, they do no harm: nobody reads them.
func Unneeded(h store.Home) error {
	forms, err := Migration{Home: h}.formerForms()
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(forms)) {
		if !h.Exists(id) {
			continue
		}
		if r, err := h.ReadForm(id); err != nil || r.Form != "" {
			return err
		}
		return fmt.Errorf("an earlier version of the driver wrote the store, and left the layer %s in overlay form: open the store once as a "+
			"graph root, which brings it to the layout of this version", id)
	}
	return nil
}

// Former returns the paths of everything that an earlier version has left. No mount uses files. A mount may use dirs.
func (m Migration) Former() (files, dirs []string) {
	add := func(paths []string, path string) []string {
		if store.IsThere(path) {
			paths = append(paths, path)
		}
		return paths
	}
	for _, a := range m.Home.Areas() {
		for _, name := range formerFiles {
			files = add(files, a.Overlay(name))
		}
		for _, name := range formerDirs {
			dirs = add(dirs, a.Overlay(name))
		}
	}
	return files, add(dirs, filepath.Join(string(m.Home), formerWhiteouts))
}

// recordForms durably records the forms of the layers that may be in overlay form. It reports whether a mount of one of them is alive.
func (m Migration) recordForms(forms map[string]whiteout.Form) (alive bool, err error) {
	for id, f := range forms {
		if !m.Home.Exists(id) {
			continue
		}
		r, err := m.Home.ReadForm(id)
		if err != nil {
			return false, err
		}
		if r.Form != "" {
			// A migration that was cut short has made this record.
			continue
		}
		used := false
		if !m.ofEarlierBoot(id) {
			if used, err = m.inUse(id, f); err != nil {
				return false, err
			}
		}
		// The earlier version converted the whole layer before mounting it. If the layer is not mounted, a crash may have cut a conversion
		// short.
		if err := m.Home.SetForm(id, store.FormRecord{Form: f, Converting: !used}); err != nil {
			return false, err
		}
		alive = alive || used
	}
	// Layers without a record are in aufs form now. Make sure that they are so on the disk.
	return alive, m.Home.Sync()
}

// inUse reports whether an overlay mount has the layer id, in form f, as its upper directory. If it cannot find out, it returns false: the
// conversion will ask again.
func (m Migration) inUse(id string, f whiteout.Form) (bool, error) {
	mounted, err := mountutil.IsMounted(m.Home.Mnt(id))
	if err != nil || mounted || conversion.MustRead(f) != nil {
		return mounted, err
	}
	used, err := m.users.UpperInUse(m.Home.Diff(id), f)
	return used && err == nil, nil
}

// ofEarlierBoot reports whether the layer id was in overlay form in an earlier boot of the kernel, and not in this one. Then nothing can
// have it mounted.
func (m Migration) ofEarlierBoot(id string) bool {
	boots, err := os.ReadDir(m.Home.Overlay("trace"))
	earlier := false
	for _, boot := range boots {
		if store.IsThere(m.Home.Overlay("trace", boot.Name(), id)) {
			if boot.Name() == mountutil.BootID() {
				return false
			}
			earlier = true
		}
	}
	return err == nil && earlier
}

// formerForms returns the forms of the layers that may be in overlay form.
func (m Migration) formerForms() (map[string]whiteout.Form, error) {
	forms := map[string]whiteout.Form{}
	boots, err := os.ReadDir(m.Home.Overlay("trace"))
	if fsutil.IgnoreGone(err) != nil {
		return nil, err
	}
	for _, boot := range boots {
		if boot.Name() == mountutil.BootID() {
			// The layers that were in overlay form during this boot have been converted back, except those that overlay/mark names.
			continue
		}
		if err := readFormerForms(m.Home.Overlay("trace", boot.Name()), forms); err != nil {
			return nil, err
		}
	}
	return forms, readFormerForms(m.Home.Overlay("mark"), forms)
}

// readFormerForms adds to forms what the entries of dir say. dir is overlay/mark or a directory of overlay/trace.
func readFormerForms(dir string, forms map[string]whiteout.Form) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fsutil.IgnoreGone(err)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		target, err := os.Readlink(path)
		if errors.Is(err, unix.EINVAL) {
			var content []byte
			content, err = fsutil.ReadFile(path)
			target = strings.TrimSpace(string(content))
		}
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(target, ":")
		r, ok := store.ParseFormRecord(name)
		if !ok || !r.IsOverlay() || r.Converting {
			return fmt.Errorf("the link or file %s says %q, which is no form of a layer", path, target)
		}
		forms[entry.Name()] = r.Form
	}
	return nil
}

// mountAlive reports whether a mount that uses one of formerDirs may be alive, in any mount namespace.
func (m Migration) mountAlive() (bool, error) {
	mounts, err := mountutil.MountsUnder(m.Home.Mnt(""))
	if err != nil || len(mounts) > 0 {
		return len(mounts) > 0, err
	}
	ids, err := m.Home.List()
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if r, err := m.Home.ReadForm(id); err != nil || r.Converting {
			// The layer is not mounted: see recordForms.
			continue
		}
		if used, err := m.users.Of(id); err != nil || used {
			return used, err
		}
	}
	for _, a := range m.Home.Areas() {
		if alive, err := m.runsAlive(a.Overlay("run")); err != nil || alive {
			return alive, err
		}
	}
	return false, nil
}

// runsAlive reports whether a mount that has one of its directories in overlay/run is alive. all is the path of overlay/run. The earlier
// version made a directory overlay/run/<id>/<run> for each mount.
func (m Migration) runsAlive(all string) (bool, error) {
	layers, err := os.ReadDir(all)
	if err != nil {
		return false, fsutil.IgnoreGone(err)
	}
	for _, layer := range layers {
		runs, err := os.ReadDir(filepath.Join(all, layer.Name()))
		if fsutil.IgnoreGone(err) != nil {
			return false, err
		}
		for _, run := range runs {
			if alive, err := m.runAlive(filepath.Join(all, layer.Name(), run.Name())); err != nil || alive {
				return alive, err
			}
		}
	}
	return false, nil
}

// runAlive is runsAlive for the mount of one such directory.
func (m Migration) runAlive(run string) (bool, error) {
	if alive, err := inuse.AliveOf(filepath.Join(run, "si")); err != nil || len(alive) > 0 {
		return len(alive) > 0, err
	}
	upper := filepath.Join(run, "upper")
	if !store.IsThere(upper) {
		return false, nil
	}
	return m.users.UpperInUse(upper, store.OwnForm())
}

// moveOut moves paths to a scratch directory, to be deleted there. If a path is in another mount, or the disk is full, moveOut deletes it at once.
func (m Migration) moveOut(paths []string) (out []*store.Scratch, err error) {
	trash, err := m.remover.NewTrash()
	if err == nil {
		out = []*store.Scratch{trash}
	} else if !store.HasNoRoom(err) {
		return nil, err
	}
	var errs []error
	for n, path := range paths {
		err := error(unix.EXDEV)
		if trash != nil {
			err = removal.MoveToTrash(path, filepath.Join(trash.Dir, "former-"+strconv.Itoa(n)))
		}
		if errors.Is(err, unix.EXDEV) {
			err = store.RemoveTree(path)
		}
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}
