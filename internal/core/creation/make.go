//go:build linux

package creation

import (
	"errors"
	"os"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// A Plan says how a layer is made.
type Plan struct {
	ID string
	// Parents are the ancestors of the layer, nearest first.
	Parents []store.Layer
	Form    whiteout.Form
	// Mappings, unless nil, map root to the owner of the root directory of a layer without parents.
	Mappings *idmap.Mappings
	// Limits are the quota of the layer.
	Limits quota.Limits
}

// Make makes the directories of the layer, and the records of its form and its quota. It makes layers/<id> last: from then on the layer
// exists. After an error nothing is left of it.
func (p Plan) Make(h store.Home) (err error) {
	root, err := rootOf(p.Parents, p.Mappings)
	if err != nil {
		return err
	}
	var made []string
	defer func() {
		if err != nil {
			for _, path := range made {
				err = errors.Join(err, os.Remove(path))
			}
		}
	}()
	for _, dir := range []string{h.Diff(p.ID), h.Mnt(p.ID)} {
		isMade, err := root.Make(dir)
		if isMade {
			made = append(made, dir)
		}
		if err != nil {
			return err
		}
	}
	syncForm, syncQuota := noSync, noSync
	if p.Form != whiteout.AufsForm && len(p.Parents) > 0 {
		if syncForm, err = h.LinkForm(p.ID, store.FormRecord{Form: p.Form}); err != nil {
			return err
		}
		made = append(made, h.Overlay(store.FormDir, p.ID))
	}
	if p.Limits != (quota.Limits{}) {
		if syncQuota, err = layerquota.Limit(h, p.ID, p.Limits); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, layerquota.Unlimit(h, p.ID))
			}
		}()
	}
	file, err := fsutil.StageFile(h.Tmp(), store.FormatParents(idsOf(p.Parents)))
	if err != nil {
		return err
	}
	// After a crash, a layer that exists must have its directory as well. These syncs are quick: StageFile has made the file durable, and
	// on most file systems that also wrote everything done before.
	if err := errors.Join(fsutil.SyncDir(h.Diff("")), syncForm(), syncQuota()); err != nil {
		return errors.Join(err, file.Discard())
	}
	return file.Commit(h.Layers(p.ID))
}

func noSync() error { return nil }
