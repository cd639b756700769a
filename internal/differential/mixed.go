//go:build linux

package differential

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// A side is a backend that mounts, with an open driver.
type side struct {
	Subject
	driver Driver
}

// mixedMounts is the number of mounts of a layer for which Mix draws a backend.
// There are seldom more.
const mixedMounts = 8

// Mix draws what else happens to the layers of a script: which backend makes
// each mount, when the store is converted, and which layers are made on top of
// read-only ones.
func Mix(t *rapid.T, script Script) Script {
	mixed := slices.Clone(script)
	for i := range mixed {
		layer := &mixed[i]
		for n := range mixedMounts {
			if rapid.Bool().Draw(t, "by the other") {
				layer.Others |= 1 << n
			}
		}
		if i > 0 {
			layer.Convert = rapid.IntRange(0, 2).Draw(t, "convert") == 0
			layer.ReadOnly = rapid.Bool().Draw(t, "read-only")
		}
	}
	return mixed
}

// byOther reports whether the other backend makes some of the mounts.
func (s Script) byOther() bool {
	return slices.ContainsFunc(s, func(l Layer) bool { return l.Others != 0 })
}

// open opens the store on the backends that the script uses.
func (r *runner) open(script Script) error {
	subjects := []Subject{r.subject}
	if script.byOther() && r.subject.Other != nil {
		subjects = append(subjects, *r.subject.Other)
	}
	for _, s := range subjects {
		driver, err := s.Open(r.home)
		if err != nil {
			return err
		}
		r.sides = append(r.sides, &side{s, driver})
	}
	r.side = r.sides[0]
	return nil
}

// cleanup calls Cleanup of all open drivers.
func (r *runner) cleanup() error {
	var err error
	for _, s := range r.sides {
		err = errors.Join(err, s.driver.Cleanup())
	}
	return err
}

// choose gives the turn to the backend that makes the next mount.
func (r *runner) choose() {
	n := 0
	if r.others&1 != 0 && len(r.sides) > 1 {
		n = 1
		r.counts.ByOther++
	}
	r.others >>= 1
	r.side = r.sides[n]
}

// leavesOut reports whether an operation cannot be carried out on all backends
// because of how they treat extended attributes.
func (r *runner) leavesOut(op Op) bool {
	return slices.ContainsFunc(r.sides, func(s *side) bool {
		return s.LacksXattrs && strings.HasSuffix(op.Verb, "xattr") || s.LosesXattrs && r.losesXattr(op)
	})
}

// convert converts the store, if the subject can do that.
func (r *runner) convert() error {
	if r.subject.Convert == nil {
		return nil
	}
	r.counts.Conversions++
	if err := r.subject.Convert(r.home); err != nil {
		return fmt.Errorf("converting the store: %w", err)
	}
	return nil
}

// readOnly makes the layer id and all layers below it read-only until undo is
// called.
func (r *runner) readOnly(id string) (undo func() error, err error) {
	if r.subject.ReadOnly == nil {
		return func() error { return nil }, nil
	}
	r.counts.ReadOnly++
	var ids []string
	for ; id != ""; id = r.parents[id] {
		ids = append(ids, id)
	}
	return r.subject.ReadOnly(r.home, ids)
}
