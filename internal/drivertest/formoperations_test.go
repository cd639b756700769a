//go:build linux && (amd64 || arm64)

package drivertest

import (
	"os"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/seed-642172e2/aufs/internal/faults"
)

// These operations find out which marks layers have, or convert layers.

func init() { operations = append(operations, formOperations...) }

var formOperations = []operation{
	// The first writable mount of a layer without marks.
	{name: "get-first", build: threeLayers, again: true, run: get("child")},
	// The first writable mount of a layer with marks, which the overlay backend converts.
	{name: "get-marked", build: childApplied, again: true, run: get("child")},
	// The conversion back.
	{name: "get-overlay-form", build: childInOverlayForm, again: true, run: get("child"), only: backend.Aufs},
	{
		name: "convert", build: childInOverlayForm, again: true,
		run: func(t *testing.T, s testStore) error { return maintenance.Convert(t.Context(), string(s.inner.Home)) },
	},
	{
		name:  "apply-below",
		build: func(t *testing.T, s testStore) { threeLayers(t, s); s.create(t, "middle", "new", "new-child") },
		run: func(t *testing.T, s testStore) error {
			_, err := s.ApplyDiff("new", "middle", applyOf(t, newLayer...))
			return err
		},
	},
	{name: "get-shadows", build: nothingKnown, again: true, run: getReadOnly("top")},
	{name: "get-shadows-of-a-written-layer", build: writtenParent, again: true, run: getReadOnly("top")},
}

func getReadOnly(id string) func(*testing.T, testStore) error {
	return func(_ *testing.T, s testStore) error {
		_, err := s.Get(id, mountOpts("ro"))
		return err
	}
}

// childApplied makes the layer child from an archive with marks of all kinds.
func childApplied(t *testing.T, s testStore) {
	t.Helper()
	threeLayers(t, s)
	s.create(t, "child", "grandchild")
	s.apply(t, "child", "middle", newLayer...)
}

// childInOverlayForm makes a layer child that a container has changed, and that is in overlay form with either backend.
func childInOverlayForm(t *testing.T, s testStore) {
	t.Helper()
	childEdited(t, s)
	s.create(t, "child", "grandchild")
	must(t, s.inner.Forms.ToOverlay("child", whiteout.OverlayTrusted, func() bool { return false }))
}

// nothingKnown makes layers with marks below top, and removes what is cached about layers.
func nothingKnown(t *testing.T, s testStore) {
	t.Helper()
	threeLayers(t, s)
	s.create(t, "middle", "new", "top")
	s.apply(t, "new", "middle", newLayer...)
	for _, dir := range []string{store.KnownDir, store.ShadowDir} {
		must(t, os.RemoveAll(s.inner.Home.Overlay(dir)))
	}
}

// writtenParent makes layers below top. The other backend has written one of them, new.
func writtenParent(t *testing.T, s testStore) {
	t.Helper()
	nothingKnown(t, s)
	if s.backend == backend.Aufs {
		must(t, s.inner.Forms.ToOverlay("new", whiteout.OverlayTrusted, func() bool { return false }))
		return
	}
	write(t, s.inner.Home.Diff("new"), files{whiteout.Base: ""})
}

// TestFormIsDurableBeforeTheMount shows that the first writable mount of a layer makes the record of the layer's form durable before it
// mounts.
func TestFormIsDurableBeforeTheMount(t *testing.T) {
	faults.Need(t)
	onOverlay(t, func(t *testing.T) {
		for _, name := range []string{"get-first", "get-marked"} {
			tr := newTrial(t, operationNamed(name), backend.Overlay)
			last := func(call, path string) int {
				at := -1
				for n, step := range tr.steps {
					if step.Name == call && len(step.Paths) > 0 && strings.HasSuffix(step.Paths[len(step.Paths)-1], path) {
						at = n
					}
				}
				return at
			}
			recorded, synced, mounted := max(last("symlinkat", "overlay/form/child"), last("renameat", "overlay/form/child"),
				last("renameat2", "overlay/form/child")), last("fsync", "overlay/form"), last("mount", "mnt/child")
			if recorded < 0 || synced < recorded || mounted < synced {
				t.Errorf("%s: it is recorded by the call %d, synced by %d, and mounted by %d of %v", name, recorded, synced, mounted, tr.steps)
			}
		}
	})
}

// applyOf returns options of ApplyDiff for an archive of entries.
func applyOf(t *testing.T, entries ...entry) driver.ApplyOptions {
	t.Helper()
	return driver.ApplyOptions{Diff: archiveOf(t, entries...)}
}
