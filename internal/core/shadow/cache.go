//go:build linux

package shadow

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// A shadow is made once, named after its content, and never changed or replaced:
//
//	overlay/shadow/<id>/<digest>/above, below
//
// Shadows are a cache. They may be deleted when nothing is mounted.

// A Cache makes and finds the shadows for one backend.
type Cache struct {
	Home  store.Home
	Forms *conversion.Converter
	// To is the form that the backend reads.
	To whiteout.Form
	// Elsewhere is the directory for shadows if the store is read-only or full. It is "" if there is no such directory.
	Elsewhere string
}

// New returns the cache of the shadows in the store at h, for a backend that reads the form to. Shadows that the store has no room for go
// below runRoot.
func New(h store.Home, forms *conversion.Converter, to whiteout.Form, runRoot string) *Cache {
	s := &Cache{Home: h, Forms: forms, To: to}
	if runRoot != "" {
		s.Elsewhere = filepath.Join(runRoot, filepath.Base(string(h))+"-shadow")
	}
	return s
}

// A Shown says how a layer is mounted in a stack.
type Shown struct {
	ID, Dir string
	// Above and Below are the shadows beside it in the stack, or "".
	Above, Below string
	// Unread says that the marks of Dir are not to count.
	Unread bool
	// Opaque says that no layer below shows through.
	Opaque bool
	// Joined says that Below has all that Above of the next layer has, and is mounted in its place.
	Joined bool
	// Form is the overlay form that the layer is in, or "".
	Form whiteout.Form
}

// Stack finds out how layers, uppermost first, are mounted. It leaves out layers that do not show through. held is the layer whose lock the
// caller holds, or "".
func (s *Cache) Stack(layers []string, held string) ([]Shown, error) {
	look, err := s.LookAt(layers)
	if err != nil {
		return nil, err
	}
	defer look.Close()
	// Layers below an opaque one do not matter.
	found, unknown, errs := make([]Shown, 0, len(layers)), []int{}, make([]error, len(layers))
	for n := range layers {
		v, ok := look.Cached(n)
		if !ok {
			unknown = append(unknown, n)
		}
		if found = append(found, v); v.Opaque {
			break
		}
	}
	// The lowest comes first: Find can cache a result that depends on the layers below only if those have cache entries.
	for _, n := range slices.Backward(unknown) {
		found[n], errs[n] = s.Find(layers[n:], layers[n] == held, nil)
	}
	for n, v := range found {
		if errs[n] != nil {
			return nil, store.LayerError("preparing", layers[n], errs[n])
		}
		if v.Opaque {
			return found[:n+1], nil
		}
	}
	return found, nil
}

// Find finds out how the first of layers is mounted on top of the others. It caches the result if later mounts can rely on it. held says
// that the caller holds the first layer's lock; only is as for PlanOf.
func (s *Cache) Find(layers []string, held bool, only []string) (v Shown, err error) {
	id := layers[0]
	if !held {
		lock, err := s.Home.LockID(id)
		if err != nil {
			return v, err
		}
		defer lock.Unlock()
	}
	if err := s.Forms.Finish(id, s.To); err != nil {
		return v, err
	}
	// Another process may have written the cache entry while this call waited for the lock. The stamps must be taken before the layers are
	// read.
	look, err := s.LookAt(layers)
	if err != nil {
		return v, err
	}
	defer look.Close()
	if v, ok := look.Cached(0); ok {
		return v, nil
	}
	read := layers
	if s.To != whiteout.AufsForm {
		// For overlayfs, the plan does not depend on the layers below: see PlanOf.
		read = layers[:1]
	}
	dirs, written, err := s.Read(read)
	if err != nil {
		return v, err
	}
	v, p, digest, err := s.Plan(id, dirs, look.aboveParent(), only)
	if err != nil {
		return v, err
	}
	for made := false; digest != "" && !look.Place(&v, digest, len(p.Above) > 0, len(p.Below) > 0); made = true {
		if made {
			return v, &fs.PathError{Op: "making the shadow", Path: filepath.Join(look.places[0], id, digest), Err: fs.ErrNotExist}
		}
		if err := s.Make(id, digest, p, dirs[0]); err != nil {
			return v, err
		}
	}
	// Whoever changes a layer with a cache entry also changes the layer's stamp: see store.Home.Invalidate.
	if !written[0] && (!p.Stacked || !slices.Contains(written, true) && look.cachedFrom(1)) {
		s.keep(id, v, p, digest, look.stamp(0, p.Joined, p.Stacked))
	}
	return v, nil
}

// Read returns the directories of layers, with their forms. written says which layers somebody may have changed without a trace in their
// root directories: those that were once mounted writable.
func (s *Cache) Read(layers []string) (dirs []whiteout.LayerDir, written []bool, err error) {
	for n, id := range layers {
		r, err := s.Home.ReadForm(id)
		if err == nil && n > 0 && (r.Converting || s.To != whiteout.AufsForm && r.IsOverlay() && r.Form != s.To) {
			r, err = s.finishLocked(id)
		}
		if err == nil {
			err = conversion.MustRead(r.Form)
		}
		if err != nil {
			return nil, nil, err
		}
		dir := whiteout.LayerDir{Root: s.Home.Diff(id), Form: whiteout.AufsForm}
		if r.IsOverlay() {
			dir.Form = r.Form
		}
		dirs = append(dirs, dir)
		written = append(written, r.Form != "" || WasWritable(dir.Root))
	}
	return dirs, written, nil
}

// finishLocked takes the lock of the ancestor id, finishes its conversion, and returns its record.
func (s *Cache) finishLocked(id string) (store.FormRecord, error) {
	lock, err := s.Home.LockID(id)
	if err != nil {
		return store.FormRecord{}, err
	}
	defer lock.Unlock()
	if err := s.Forms.Finish(id, s.To); err != nil {
		return store.FormRecord{}, err
	}
	return s.Home.ReadForm(id)
}

// WasWritable reports whether the layer at dir has been a writable branch. Aufs leaves its own files in such a branch.
func WasWritable(dir string) bool { return store.IsThere(filepath.Join(dir, whiteout.Base)) }

// Plan is PlanOf for the layer id, the first of dirs, on top of the others. aboveParent is the shadow above the layer's parent, or "".
func (s *Cache) Plan(id string, dirs []whiteout.LayerDir, aboveParent string, only []string) (v Shown, p Plan, digest string, err error) {
	v = Shown{ID: id, Dir: dirs[0].Root}
	if dirs[0].Form != whiteout.AufsForm {
		v.Form = dirs[0].Form
	}
	p, err = PlanOf(dirs[0], s.To, dirs[1:], only)
	if err == nil && aboveParent != "" {
		err = p.Join(aboveParent)
	}
	if err == nil {
		err = p.TooLong(s.To)
	}
	if err == nil {
		digest, err = p.Digest(dirs[0], s.To)
	}
	v.Opaque, v.Unread, v.Joined = p.Opaque, p.Unread, p.Joined
	return v, p, digest, err
}

// places returns the directories below which shadows can be, at <id>/<digest>/.
func (s *Cache) places() []string {
	places := []string{s.Home.BesideDiff().Overlay(store.ShadowDir)}
	if s.Elsewhere != "" {
		places = append(places, s.Elsewhere)
	}
	return places
}

// Make makes the shadows of the layer id, whose directory is layer, in the first place that has room for them.
func (s *Cache) Make(id, digest string, p Plan, layer whiteout.LayerDir) error {
	var first error
	for _, place := range s.places() {
		err := s.makeAt(filepath.Join(place, id, digest), p, layer)
		if err == nil || !store.HasNoRoom(err) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// makeAt makes shadows in the directory dir, which appears whole or not at all.
func (s *Cache) makeAt(dir string, p Plan, layer whiteout.LayerDir) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	newScratch := s.Home.NewScratch
	if s.Elsewhere != "" && mountutil.IsBelow(dir, s.Elsewhere) {
		newScratch = func(purpose string) (*store.Scratch, error) { return store.NewScratchIn(s.Elsewhere, purpose) }
	}
	made, err := newScratch("shadow")
	if err != nil {
		return err
	}
	err = p.Make(filepath.Join(made.Dir, "new"), layer, s.To)
	if err == nil {
		err = os.Rename(filepath.Join(made.Dir, "new"), dir)
		if errors.Is(err, fs.ErrExist) {
			// Somebody else has made the same shadows.
			err = nil
		}
	}
	return errors.Join(err, made.Discard())
}
