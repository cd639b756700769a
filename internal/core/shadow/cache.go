//go:build linux

package shadow

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// A shadow is made once, named after its content, and never changed or replaced:
//
//	overlay/shadow/<id>/<digest>/above, below
//
// Those of a layer in an additional image store are in another directory: see store.Stores.Shadows. Shadows are a cache. They may be deleted when
// nothing is mounted.

// A Cache makes and finds the shadows for one backend.
type Cache struct {
	store.Stores
	Forms *conversion.Converter
	// To is the form that the backend reads.
	To whiteout.Form
	// Elsewhere is the directory for shadows if the store is read-only or full. It is "" if there is no such directory.
	Elsewhere string
}

// New returns the cache of the shadows of the layers in stores, for a backend that reads the form to. Shadows that home has no room for go
// below runRoot.
func New(stores store.Stores, forms *conversion.Converter, to whiteout.Form, runRoot string) *Cache {
	s := &Cache{Stores: stores, Forms: forms, To: to}
	if runRoot != "" {
		s.Elsewhere = filepath.Join(runRoot, filepath.Base(string(stores.Home))+"-shadow")
	}
	return s
}

// A Shown says how a layer is mounted in a stack.
type Shown struct {
	store.Layer
	// Dir is the directory of the layer.
	Dir string
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
// caller holds, if it is one of them.
func (s *Cache) Stack(layers []store.Layer, held store.Layer) ([]Shown, error) {
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
			return nil, store.LayerError("preparing", layers[n].ID, errs[n])
		}
		if v.Opaque {
			return found[:n+1], nil
		}
	}
	return found, nil
}

// Find finds out how the first of layers is mounted on top of the others. It caches the result if later mounts can rely on it. held says
// that the caller holds the first layer's lock; only is as for PlanOf.
func (s *Cache) Find(layers []store.Layer, held bool, only []string) (v Shown, err error) {
	layer := layers[0]
	if !held {
		lock, err := s.Lock(layer)
		if err != nil {
			return v, err
		}
		defer lock.Unlock()
	}
	if s.IsOwn(layer) {
		if err := s.Forms.Finish(layer.ID, s.To); err != nil {
			return v, err
		}
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
	v, p, digest, err := s.Plan(layer, dirs, look.aboveParent(), only)
	if err != nil {
		return v, err
	}
	for made := false; digest != "" && !look.Place(&v, digest, len(p.Above) > 0, len(p.Below) > 0); made = true {
		if made {
			return v, &fs.PathError{Op: "making the shadow", Path: filepath.Join(s.places(layer)[0], layer.ID, digest), Err: fs.ErrNotExist}
		}
		if err := s.Make(layer, digest, p, dirs[0]); err != nil {
			return v, err
		}
	}
	// Whoever changes a layer with a cache entry also changes the layer's stamp: see store.Home.Invalidate.
	if !written[0] && (!p.Stacked || !slices.Contains(written, true) && look.cachedFrom(1)) {
		s.keep(layer, v, p, digest, look.stamp(0, p.Joined, p.Stacked))
	}
	return v, nil
}

// Read returns the directories of layers, with their forms. written says which layers somebody may have changed without a trace in their
// root directories: those that were once mounted writable.
func (s *Cache) Read(layers []store.Layer) (dirs []whiteout.LayerDir, written []bool, err error) {
	for n, layer := range layers {
		r, err := layer.Home.ReadForm(layer.ID)
		other := s.To != whiteout.AufsForm && r.IsOverlay() && r.Form != s.To
		switch own := s.IsOwn(layer); {
		case err != nil:
		case !own && (r.Converting || other):
			err = unreadable(layer, r)
		case own && n > 0 && (r.Converting || other):
			r, err = s.finishLocked(layer.ID)
		}
		if err == nil {
			err = conversion.MustRead(r.Form)
		}
		if err != nil {
			return nil, nil, err
		}
		dir := whiteout.LayerDir{Root: layer.Dir(), Form: whiteout.AufsForm}
		if r.IsOverlay() {
			dir.Form = r.Form
		}
		dirs = append(dirs, dir)
		written = append(written, r.Form != "" || WasWritable(dir.Root))
	}
	return dirs, written, nil
}

// unreadable returns the error for a layer of an image store that has to be converted before it can be mounted.
func unreadable(layer store.Layer, r store.FormRecord) error {
	return fmt.Errorf("%s is in the form %q, and cannot be converted in an additional image store, which is only read: %w", layer.Dir(), r, unix.EROFS)
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

// Plan is PlanOf for layer, the first of dirs, on top of the others. aboveParent is the shadow above the layer's parent, or "".
func (s *Cache) Plan(layer store.Layer, dirs []whiteout.LayerDir, aboveParent string, only []string) (v Shown, p Plan, digest string, err error) {
	v = Shown{Layer: layer, Dir: dirs[0].Root}
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

// places returns the directories below which shadows of the layer can be, at <id>/<digest>/.
func (s *Cache) places(layer store.Layer) []string {
	places := []string{s.Shadows(layer.Home)}
	if s.Elsewhere != "" {
		places = append(places, s.Elsewhere)
	}
	return places
}

// Make makes the shadows of the layer, whose directory is dir, in the first place that has room for them.
func (s *Cache) Make(layer store.Layer, digest string, p Plan, dir whiteout.LayerDir) error {
	var first error
	for _, place := range s.places(layer) {
		err := s.makeAt(filepath.Join(place, layer.ID, digest), p, dir)
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
