//go:build linux

package maintenance

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/migration"
	"github.com/seed-642172e2/aufs/internal/core/removal"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// Repair removes and restores whatever it can without losing data, and returns the problems that remain. The comment of each ProblemKind
// says what Repair does about it. If ctx ends, Repair stops after the layer that it is working on.
func Repair(ctx context.Context, home string) ([]Problem, error) {
	c, err := newCheck(home)
	if err == nil {
		err = c.repair(ctx)
	}
	if err != nil {
		return nil, store.OpError("repairing the store "+home, err)
	}
	return Check(ctx, home)
}

// repair is Repair without the Check at the end.
func (c *checker) repair(ctx context.Context) error {
	err := c.withoutOthers(func() ([]*store.Scratch, error) { return c.repairNames(ctx) })
	var failed []error
	if err == nil {
		err = c.remover.RemoveAbandoned(ctx, func(err error) { failed = append(failed, err) })
	}
	if end := ctx.Err(); end != nil && !errors.Is(err, end) {
		failed = append(failed, end)
	}
	if err = errors.Join(append(failed, err)...); err != nil {
		return err
	}
	return c.remover.SweepNotes()
}

// withoutOthers calls do with the store lock held. After unlocking, it removes the scratch directories that do returned.
func (c *checker) withoutOthers(do func() ([]*store.Scratch, error)) error {
	made, err := store.Make(c.home)
	if err != nil {
		store.Unmake(c.home, made)
		return err
	}
	storeLock, err := c.home.LockStore()
	if err != nil {
		return err
	}
	strays, err := do()
	storeLock.Unlock()
	for _, trash := range strays {
		err = errors.Join(err, trash.Remove())
	}
	return err
}

// repairNames does the part of repair that needs the store lock. It returns scratch directories to remove after unlocking.
func (c *checker) repairNames(ctx context.Context) ([]*store.Scratch, error) {
	h := c.home
	former, err := migration.Migrate(c.home, "", c.remover)
	if err != nil {
		return former, err
	}
	ids, err := h.List()
	if err != nil {
		return former, err
	}
	if err := c.restoreParents(ctx, ids); err != nil {
		return former, err
	}
	for _, id := range ids {
		if err := removal.RestoreMountPoint(h, id); err != nil {
			return former, err
		}
	}
	strays, err := c.remover.SweepLayers()
	return append(former, strays...), err
}

// restoreParents completes each layers/<id> that was cut short, if the rest is known.
func (c *checker) restoreParents(ctx context.Context, ids []string) error {
	h := c.home
	for {
		restored := false
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			content, err := fsutil.ReadFile(h.Layers(id))
			if err != nil {
				return err
			}
			parents, ok := c.knownParents(id, content, ids)
			if !ok {
				continue
			}
			if err := fsutil.WriteFileAtomic(h.Tmp(), h.Layers(id), store.FormatParents(parents)); err != nil {
				return store.LayerError("restoring the parents of", id, err)
			}
			restored = true
		}
		// Go on: a file that is whole now may complete another one.
		if !restored {
			return nil
		}
	}
}

// knownParents returns the ancestors of the layer id, if content, the content of layers/<id>, is only the beginning of the list and the
// rest is known. The files of the layer's descendants list all its ancestors. If content still has the name of the nearest parent, that
// parent's file lists the others.
func (c *checker) knownParents(id string, content []byte, ids []string) ([]string, bool) {
	h := c.home
	if len(content) == 0 && !shadow.WasWritable(h.Diff(id)) {
		// The layer may be a base layer, whose file is empty. Then a child's file that names parents of the layer is wrong.
		return nil, false
	}
	var known [][]string
	for _, child := range ids {
		if child == id {
			continue
		}
		if parents, err := h.WrittenParents(child); err == nil {
			if i := slices.Index(parents, id); i >= 0 {
				known = append(known, parents[i+1:])
			}
		}
	}
	if nearest, _, ok := strings.Cut(string(content), "\n"); ok && c.stores.Exists(nearest) && nearest != id {
		if others, err := c.stores.Find(nearest, h).Home.WrittenParents(nearest); err == nil {
			known = append(known, append([]string{nearest}, others...))
		}
	}
	if len(known) == 0 {
		return nil, false
	}
	for _, parents := range known {
		if !slices.Equal(parents, known[0]) {
			return nil, false
		}
	}
	whole := store.FormatParents(known[0])
	if len(content) >= len(whole) || !bytes.HasPrefix(whole, content) {
		return nil, false
	}
	for _, parent := range known[0] {
		if !c.stores.Exists(parent) || parent == id {
			return nil, false
		}
	}
	return known[0], true
}
