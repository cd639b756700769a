//go:build linux

package shift

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

var (
	// ErrNoShifting says that a mount cannot show a layer with the owners that it has to show.
	ErrNoShifting = errors.New("mounts cannot shift the owners of the layer")
	// ErrOtherMaps says that a layer has the owners of other id maps.
	ErrOtherMaps = errors.New("the layer belongs to owners of other id maps")
)

// A Request says which owners a mount is to show.
type Request struct {
	// Maps map the ids in the container to those on the host. Without ranges, the mount uses the maps that a shifted layer has
	// recorded, if any.
	Maps *idmap.Mappings
	// Disabled says that the mount must not shift any owners.
	Disabled bool
}

// maps returns the maps of the request, or nil if it has no ranges or is Disabled.
func (r Request) maps() *idmap.Mappings {
	if r.Maps == nil || r.Disabled || r.Maps.Empty() {
		return nil
	}
	return r.Maps
}

// A Plan says how the owners in a mount are shifted. With a nil Plan, a mount shows the owners on the disk.
type Plan struct {
	Maps *idmap.Mappings
	// mapped has the layers that are to be idmapped.
	mapped map[store.Layer]bool
	// top is the layer that is mounted, and writable says that it is not among the layers that are only read.
	top      store.Layer
	writable bool
	// first says that Begin must record the maps for top. begun says that top has the owners of these maps already: it has a record of them, or
	// has no record yet and is on top of a layer that has one.
	first, begun bool
	// undo, unless it is nil, puts back what Begin has changed.
	undo func() error
}

// PlanOf plans the mount of the first of layers on top of the others. writable says that the first is going to be written to.
//
// If the request has no maps, PlanOf uses those of a shifted layer, so that all files of a container have the same owners, whether the
// container wrote them or the image has them.
func PlanOf(layers []store.Layer, writable bool, request Request) (*Plan, error) {
	records, err := readAll(layers)
	if err != nil {
		return nil, err
	}
	p := &Plan{Maps: request.maps(), mapped: map[store.Layer]bool{}, top: layers[0], writable: writable}
	some, recorded := false, -1
	for n, r := range records {
		if r == nil {
			continue
		}
		recorded = n
		if r.Kind != Shifted {
			continue
		}
		some = true
		if request.Disabled {
			return nil, fmt.Errorf("%s was mounted with id maps, and this mount is to have none: %w", layers[n].Dir(), ErrNoShifting)
		}
		if p.Maps == nil {
			p.Maps = &r.Maps
		}
	}
	if p.Maps == nil {
		return nil, nil //nolint:nilnil // nothing is shifted
	}
	if err := p.read(layers, records, recorded); err != nil {
		return nil, err
	}
	p.begun = p.begun || !p.first && records[0] != nil && records[0].Kind == Shifted
	if len(p.mapped) == 0 && !p.first && !some {
		return nil, nil //nolint:nilnil // all owners are on the disk as they are to be shown
	}
	return p, p.Maps.Check()
}

// A state says whose ids a layer has.
type state int

const (
	// inside says that the owners are ids in a container, unless a layer further below says something else.
	inside state = iota
	// onlyInside says that the owners are ids in a container, and that nothing below shows through.
	onlyInside
	// shifted says that the owners are ids of the maps. The layers below may have others.
	shifted
	// changed says that the owners of the layer, and of the layers above it without a record, are ids of the maps. Nothing below shows
	// through.
	changed
)

// read finds out which layers are to be idmapped. recorded is the index of the last layer that has a record.
func (p *Plan) read(layers []store.Layer, records []*Record, recorded int) error {
	var raw []store.Layer
reading:
	for n, layer := range layers {
		is, err := p.stateOf(layer, records[n])
		if err != nil {
			return fmt.Errorf("%s: %w", layer.Dir(), err)
		}
		switch {
		case is == changed && n < recorded && records[n] == nil:
			// A record further below says more.
			if p.isWritten(layer) && slices.ContainsFunc(records, func(r *Record) bool { return r != nil && r.Kind == Shifted }) {
				p.first, p.begun = true, true
			}
		case is == changed:
			raw = nil
			break reading
		case is == inside:
			raw = append(raw, layer)
		case is == onlyInside:
			raw = append(raw, layer)
			break reading
		}
	}
	for _, layer := range raw {
		if !p.isWritten(layer) {
			p.mapped[layer] = true
			continue
		}
		p.first = true
		if err := isEmpty(layer); err != nil {
			return fmt.Errorf("%s: %w", layer.Dir(), err)
		}
	}
	return nil
}

// isWritten reports whether the layer is the one that is going to be written to.
func (p *Plan) isWritten(layer store.Layer) bool { return layer == p.top && p.writable }

// stateOf returns the state of the layer, which has the record r. If a change of the owners was cut short, the layer has files of two kinds.
func (p *Plan) stateOf(layer store.Layer, r *Record) (state, error) {
	size, err := sizeOf(layer.Home.Overlay(store.OwnersDir, layer.ID))
	if err != nil {
		return inside, err
	}
	switch {
	case size > 0:
		return inside, fmt.Errorf("a change of the owners was cut short: %w", ErrOtherMaps)
	case r == nil:
		return p.withoutRecord(layer, size == 0)
	case r.Maps.Equal(p.Maps) && r.Kind == Changed:
		return changed, nil
	case r.Maps.Equal(p.Maps):
		return shifted, nil
	case r.Kind == Changed && r.Maps.Empty():
		// The owners were changed back.
		return onlyInside, nil
	case r.Kind == Shifted && p.isWritten(layer):
		// If the earlier mount left no files in the layer, the layer can get other maps.
		return inside, nil
	}
	return inside, ErrOtherMaps
}

// withoutRecord returns the state of a layer that has no record: nobody has changed its owners, or it is from before there were records. If
// the owner of the root directory is an id of the maps, the owners of the layer, or of one below it, were changed. If the maps leave that
// owner as it is, the layer was changed if wasChanged says that UpdateLayerIDMap has changed it. If the maps give the host's root to another
// user inside, a directory that belongs to the host's root comes from an image, in which root directories belong to root.
func (p *Plan) withoutRecord(layer store.Layer, wasChanged bool) (state, error) {
	st, err := fsutil.LstatOf(layer.Dir())
	if err != nil {
		return inside, err
	}
	owner := idmap.Pair{UID: int(st.Uid), GID: int(st.Gid)}
	id, err := p.Maps.ToContainer(owner)
	switch {
	case err != nil:
		return inside, nil //nolint:nilerr // the owner is no id of the maps
	case owner.UID == 0 && id.UID != 0, owner.GID == 0 && id.GID != 0:
		return inside, nil
	case id != owner, wasChanged:
		return changed, nil
	}
	// The maps give the owner to itself.
	return inside, nil
}

// isEmpty returns an error if the layer has files other than those that aufs keeps for itself. Their owners would differ from those of the
// files that the container is going to make.
func isEmpty(layer store.Layer) error {
	entries, err := os.ReadDir(layer.Dir())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !slices.Contains(whiteout.OwnFileNames, entry.Name()) {
			return fmt.Errorf("the file %s was made without these id maps: %w", entry.Name(), ErrOtherMaps)
		}
	}
	return nil
}

// Shifts reports whether the plan shifts the owners of the layer. A plan never shifts the owners of a layer that is written to.
func (p *Plan) Shifts(layer store.Layer) bool { return p != nil && p.mapped[layer] }

// Begin makes the layer, which must be in home, ready to be mounted: it records the maps, and gives the root directory to the container's root,
// as the overlay driver does. If the layer has the owners of these maps already, the root directory keeps an owner that has an id in the
// container: the container may have chosen it. If an earlier Begin was cut short, a read-only mount finishes it as well. The caller holds the
// layer's lock until it has called End.
func (p *Plan) Begin() error {
	if p == nil || !p.first && !p.begun {
		return nil
	}
	st, err := fsutil.LstatOf(p.top.Dir())
	if err != nil {
		return err
	}
	owner := idmap.Pair{UID: int(st.Uid), GID: int(st.Gid)}
	_, noID := p.Maps.ToContainer(owner)
	keep := p.begun && noID == nil
	if p.first {
		if err := p.record(owner); err != nil {
			return err
		}
	}
	if keep {
		return nil
	}
	err = chown(p.top, p.Maps.Root())
	if errors.Is(err, unix.EROFS) && !p.writable {
		return nil
	}
	return p.End(err)
}

// record records the maps. owner is that of the root directory.
func (p *Plan) record(owner idmap.Pair) error {
	before, err := Read(p.top)
	if err != nil {
		return err
	}
	if err := Write(p.top.Home, p.top.ID, Record{Kind: Shifted, Maps: *p.Maps}); err != nil {
		return err
	}
	p.first, p.begun = false, true
	p.undo = func() error {
		if err := chown(p.top, owner); err != nil {
			return err
		}
		if before == nil {
			return remove(p.top)
		}
		return Write(p.top.Home, p.top.ID, *before)
	}
	return nil
}

// End is told the error of the mount for which Begin was called, or nil, and returns it. If the mount has failed, the layer gets the record and
// the owner back that it had before Begin: it must not be bound to maps with which nobody can have written to it. End may be called more than
// once.
func (p *Plan) End(err error) error {
	if p == nil || p.undo == nil || err == nil {
		return err
	}
	undo := p.undo
	p.undo = nil
	return errors.Join(err, undo())
}

// chown gives the root directory of the layer to the owner.
func chown(layer store.Layer, owner idmap.Pair) error {
	return os.Lchown(layer.Dir(), owner.UID, owner.GID)
}

// Agrees is for a layer that is already mounted, at target. It returns an error if the root of that mount has another owner than the plan gives
// it, or if Begin has yet to record the maps.
func (p *Plan) Agrees(target string) error {
	if p == nil {
		return nil
	}
	dir, err := fsutil.LstatOf(p.top.Dir())
	if err != nil {
		return err
	}
	shown, err := fsutil.LstatOf(target)
	if err != nil {
		return err
	}
	want := idmap.Pair{UID: int(dir.Uid), GID: int(dir.Gid)}
	if p.mapped[p.top] {
		want = p.shown(want)
	}
	if p.first || want != (idmap.Pair{UID: int(shown.Uid), GID: int(shown.Gid)}) {
		return fmt.Errorf("%s is mounted already: %w", target, ErrOtherMaps)
	}
	return nil
}

// shown returns the owner that an idmapped mount shows.
func (p *Plan) shown(owner idmap.Pair) idmap.Pair {
	to := func(id int, list []idmap.Map) int {
		if id, err := idmap.ToHost(id, list); err == nil {
			return id
		}
		return idmap.Overflow
	}
	return idmap.Pair{UID: to(owner.UID, p.Maps.UIDs), GID: to(owner.GID, p.Maps.GIDs)}
}

// ShiftsAny reports whether Shifts is true of any layer.
func (p *Plan) ShiftsAny() bool { return p != nil && len(p.mapped) > 0 }
