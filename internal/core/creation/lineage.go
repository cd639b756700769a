//go:build linux

package creation

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/seed-642172e2/aufs/internal/core/store"
)

// Lineage returns the ancestors of a new layer id on top of parent, nearest first.
func Lineage(s store.Stores, id, parent string) ([]store.Layer, error) {
	if parent == "" {
		return nil, nil
	}
	if err := store.CheckID(parent); err != nil {
		return nil, store.LayerError("creating", id, fmt.Errorf("parent %q: %w", parent, err))
	}
	nearest, err := s.Lookup("using", parent)
	if errors.Is(err, store.ErrLayerUnknown) {
		err = fmt.Errorf("parent %s: %w", parent, store.ErrLayerUnknown)
	}
	if err != nil {
		return nil, store.LayerError("creating", id, err)
	}
	ancestors, err := s.Parents(nearest)
	if err != nil {
		return nil, store.LayerError("creating", id, err)
	}
	return append([]store.Layer{nearest}, ancestors...), nil
}

// NotBelow returns an error if an additional image store has a layer with this id, and that layer is one of parents or is below a layer of home.
// If home got a layer with this id too, the layers on top would show other content.
func NotBelow(s store.Stores, id string, parents []store.Layer) error {
	image := s.Find(id, s.Home)
	if slices.Contains(idsOf(parents), id) {
		return store.LayerError("creating", id, fmt.Errorf("the parent is on top of the layer of that name in %s: %w", image.Home.ImageStore(), fs.ErrExist))
	}
	if s.IsOwn(image) {
		return nil
	}
	ids, err := s.Home.List()
	if err != nil {
		return store.LayerError("creating", id, err)
	}
	for _, above := range ids {
		// A layer that cannot be read depends on nothing.
		if ancestors, err := s.Home.WrittenParents(above); err == nil && slices.Contains(ancestors, id) {
			return store.LayerError("creating", id, fmt.Errorf("the layer %s is on top of the layer of that name in the additional image store %s: %w",
				above, image.Home.ImageStore(), fs.ErrExist))
		}
	}
	return nil
}

// idsOf returns the ids of layers.
func idsOf(layers []store.Layer) []string {
	ids := make([]string, 0, len(layers))
	for _, layer := range layers {
		ids = append(ids, layer.ID)
	}
	return ids
}
