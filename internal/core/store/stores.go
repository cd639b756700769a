//go:build linux

package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// Layers can be in additional image stores as well: homes that other drivers have filled, and in which this one only reads. Find says which
// home a layer is in. Everything else asks for the paths of that home, by Layer.
//
// For the mounts of such layers, home has directories for each image store: see imagestate.go.

// Stores are the directories where a driver finds layers.
type Stores struct {
	// Home is the driver's own store. The driver makes and changes layers only there.
	Home Home
	// Images are the homes of the additional image stores, in the order in which they are searched.
	Images []Home
}

// A Layer is the id of a layer with the home that the layer is in.
type Layer struct {
	Home Home
	ID   string
}

// Dir returns the directory of the layer's files.
func (l Layer) Dir() string { return l.Home.Diff(l.ID) }

// Find returns the layer id. It looks in home first, and then in the image stores.
//
// If id is an ancestor of a layer, above is the home of that layer, and otherwise home. An ancestor of a layer in an image store is in the
// same image store or in another one, but never in home: an image store has whole images, which no layer of home changes.
//
// If no home has the layer, Find returns it as a layer of above.
func (s Stores) Find(id string, above Home) Layer {
	if len(s.Images) == 0 {
		return Layer{above, id}
	}
	for _, h := range s.order(above) {
		if h.Exists(id) {
			return Layer{h, id}
		}
	}
	return Layer{above, id}
}

// order returns the homes where Find looks.
func (s Stores) order(above Home) []Home {
	if above == s.Home {
		return append([]Home{s.Home}, s.Images...)
	}
	others := slices.DeleteFunc(slices.Clone(s.Images), func(h Home) bool { return h == above })
	return append([]Home{above}, others...)
}

// IsOwn reports whether the layer is in home, so that the driver may change it.
func (s Stores) IsOwn(l Layer) bool { return l.Home == s.Home }

// Own returns the layer id of home, whether it exists or not.
func (s Stores) Own(id string) Layer { return Layer{s.Home, id} }

// Exists reports whether there is a layer id.
func (s Stores) Exists(id string) bool { return s.Find(id, s.Home).Exists() }

// Exists reports whether the layer exists in its home.
func (l Layer) Exists() bool { return l.Home.Exists(l.ID) }

// Lookup returns the layer id. The error matches ErrLayerUnknown if there is none.
func (s Stores) Lookup(op, id string) (Layer, error) {
	if err := CheckID(id); err != nil {
		return Layer{}, LayerError(op, id, err)
	}
	l := s.Find(id, s.Home)
	if !l.Exists() {
		return l, UnknownLayer(op, id)
	}
	if err := s.mustBeWhole(l); err != nil {
		return l, LayerError(op, id, err)
	}
	return l, nil
}

// MustChange returns an error if the layer id can only be read, because it is in an image store and not in home. It matches EROFS.
func (s Stores) MustChange(op, id string) error {
	if l := s.Find(id, s.Home); !s.IsOwn(l) {
		return LayerError(op, id, fmt.Errorf("the layer is in the additional image store %s, which is only read: %w", l.Home.ImageStore(), unix.EROFS))
	}
	return nil
}

// mustBeWhole returns an error if an operation on the layer l was cut short in its image store. Only a driver that may write there can
// finish the operation. In home, a mount finishes a conversion, and UpdateLayerIDMap finishes a change of owners.
func (s Stores) mustBeWhole(l Layer) error {
	if s.IsOwn(l) {
		return nil
	}
	r, err := l.Home.ReadForm(l.ID)
	if err != nil {
		return err
	}
	if r.Converting {
		return l.halfDone("a conversion")
	}
	st, err := fsutil.LstatOf(l.Home.Overlay(OwnersDir, l.ID))
	if err == nil && st.Size > 0 {
		return l.halfDone("a change of its owners")
	}
	return fsutil.IgnoreGone(err)
}

func (l Layer) halfDone(what string) error {
	return fmt.Errorf("%s was interrupted in the additional image store %s, which this driver only reads: use that store "+
		"as a graph root, to finish it: %w", what, l.Home.ImageStore(), unix.EROFS)
}

// Parents returns the ancestors of the layer l, nearest first. The errors are those of Home.Parents, and match EROFS if an
// operation on an ancestor was cut short in an image store.
func (s Stores) Parents(l Layer) ([]Layer, error) {
	ids, err := l.Home.WrittenParents(l.ID)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	parents := make([]Layer, 0, len(ids))
	above := l.Home
	for _, id := range ids {
		parent := s.Find(id, above)
		if err := s.mustBeWhole(parent); err != nil {
			return nil, LayerError("using", id, err)
		}
		above = parent.Home
		parents = append(parents, parent)
	}
	if err := l.agrees(ids, parents[0]); err != nil {
		return nil, LayerError("reading the parents of", l.ID, err)
	}
	return parents, nil
}

// Below returns the directories of the ancestors of the layer l, nearest first. A missing directory is an error: a stack without it would
// silently show another tree.
func (s Stores) Below(l Layer) ([]whiteout.LayerDir, error) {
	parents, err := s.Parents(l)
	if err != nil {
		return nil, err
	}
	below := make([]whiteout.LayerDir, 0, len(parents))
	for _, parent := range parents {
		if err := fsutil.RealDirectory(parent.Dir()); err != nil {
			return nil, LayerError("using the parent "+parent.ID+" of", l.ID, err)
		}
		dir, err := parent.WithForm()
		if err != nil {
			return nil, err
		}
		below = append(below, dir)
	}
	return below, nil
}

// WithForm returns the directory of the layer with the form that it is in.
func (l Layer) WithForm() (whiteout.LayerDir, error) {
	f, err := l.Home.Form(l.ID)
	return whiteout.LayerDir{Root: l.Dir(), Form: f}, err
}

// imageStoreHome is the name of the driver's home in the graph root of an image store.
const imageStoreHome = "aufs"

// ImageStore returns the directory that the user has named, if h is the home of an image store.
func (h Home) ImageStore() string { return filepath.Dir(string(h)) }

// ImageStore returns the home of the additional image store at path, the graph root of a store. The result is "" if the directory has no store
// of the driver: distributions list a directory in storage.conf that is empty, or has images of another driver.
func ImageStore(path string) (Home, error) {
	if !filepath.IsAbs(path) {
		return "", errors.New("the path is not absolute")
	}
	if _, err := os.ReadDir(path); err != nil {
		return "", err
	}
	h := Home(filepath.Join(path, imageStoreHome))
	if _, err := fsutil.LstatOf(string(h)); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	for _, dir := range []string{h.Layers(""), h.Diff("")} {
		switch err := fsutil.RealDirectory(dir); {
		case errors.Is(err, fs.ErrPermission):
			return "", fmt.Errorf("this user may not read the store: %w", err)
		case err != nil:
			return "", fmt.Errorf("this is no store of the aufs driver: %w", err)
		}
	}
	if err := h.RealDirectories(); err != nil {
		return "", err
	}
	return h, nil
}

// key returns the name of the directories of the image store h in home.
func (h Home) key() string {
	sum := sha256.Sum256([]byte(h))
	return hex.EncodeToString(sum[:16])
}
