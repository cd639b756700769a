//go:build linux

package creation

import (
	"errors"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// Make makes the directories of a layer on top of parents, nearest first, and the record of the form f. It makes layers/<id> last: from then
// on the layer exists. After an error nothing is left of it. mappings, unless nil, map root to the owner of the root directory of a layer
// without parents.
func Make(h store.Home, f whiteout.Form, id string, parents []store.Layer, mappings *idmap.Mappings) (err error) {
	root, err := rootOf(parents, mappings)
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
	for _, dir := range []string{h.Diff(id), h.Mnt(id)} {
		isMade, err := root.Make(dir)
		if isMade {
			made = append(made, dir)
		}
		if err != nil {
			return err
		}
	}
	syncForm := func() error { return nil }
	if f != whiteout.AufsForm && len(parents) > 0 {
		if syncForm, err = h.LinkForm(id, store.FormRecord{Form: f}); err != nil {
			return err
		}
		made = append(made, h.Overlay(store.FormDir, id))
	}
	file, err := fsutil.StageFile(h.Tmp(), store.FormatParents(idsOf(parents)))
	if err != nil {
		return err
	}
	// After a crash, a layer that exists must have its directory as well. These syncs are quick: StageFile has made the file durable, and
	// on most file systems that also wrote everything done before.
	if err := errors.Join(fsutil.SyncDir(h.Diff("")), syncForm()); err != nil {
		return errors.Join(err, file.Discard())
	}
	return file.Commit(h.Layers(id))
}
