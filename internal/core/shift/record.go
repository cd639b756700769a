//go:build linux

package shift

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// A Kind says why the files in a layer's directory have the owners that the record describes.
type Kind string

const (
	// Shifted is the kind of a layer that was mounted writable with id maps. The layers below may have other ids on the disk.
	Shifted Kind = "shifted"
	// Changed is the kind of a layer whose owners UpdateLayerIDMap has changed. It has a copy of each file of the layers below.
	Changed Kind = "changed"
)

// errHasMaps says that files cannot be put in the place of a layer's directory: the layer has the owners of id maps, and the files have others.
var errHasMaps = errors.New("the layer, or a layer below, was mounted with id maps, so files that were unpacked elsewhere would have wrong owners")

// A Record is the content of overlay/ids/<id>. It is text:
//
//	shifted
//	uid 0:100000:65536
//	gid 0:100000:65536
//	end
//
// The first line is the kind. The lines up to the last one, "end", are ranges of Maps: the first id in the container, the first id on the
// host, the number of ids. A record without ranges says that UpdateLayerIDMap has changed the owners back to ids in a container. A layer that was neither shifted
// nor changed has no record.
type Record struct {
	Kind Kind
	// Maps map ids in the container to the ids that the layer has on the disk.
	Maps idmap.Mappings
}

// lastLine tells a whole record from one that has lost lines.
const lastLine = "end"

// text returns the record as it is in the file.
func (r Record) text() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, r.Kind)
	for _, m := range r.Maps.UIDs {
		fmt.Fprintln(&b, "uid", m)
	}
	for _, m := range r.Maps.GIDs {
		fmt.Fprintln(&b, "gid", m)
	}
	fmt.Fprintln(&b, lastLine)
	return b.Bytes()
}

// parse is the inverse of text. path is that of the file, for errors.
func parse(path string, text []byte) (Record, error) {
	kind, rest, _ := strings.Cut(string(text), "\n")
	r := Record{Kind: Kind(kind)}
	for line := range strings.Lines(rest) {
		if line == lastLine+"\n" {
			break
		}
		var list string
		var m idmap.Map
		if _, err := fmt.Sscanf(line, "%s %d:%d:%d\n", &list, &m.ContainerID, &m.HostID, &m.Size); err != nil {
			return r, fmt.Errorf("%w: %s has the line %q: %w", store.ErrDamaged, path, line, err)
		}
		if list == "uid" {
			r.Maps.UIDs = append(r.Maps.UIDs, m)
		} else {
			r.Maps.GIDs = append(r.Maps.GIDs, m)
		}
	}
	if !slices.Contains([]Kind{Shifted, Changed}, r.Kind) || !bytes.Equal(r.text(), text) {
		return r, fmt.Errorf("%w: %s does not say whose the files are", store.ErrDamaged, path)
	}
	if r.Kind == Shifted {
		// A mount has had these maps. UpdateLayerIDMap takes others as well, such as those of users alone.
		if err := r.Maps.Check(); err != nil {
			return r, fmt.Errorf("%w: %s: %w", store.ErrDamaged, path, err)
		}
	}
	return r, nil
}

// Write writes the record of the layer id durably.
func Write(h store.Home, id string, r Record) error { return h.WriteRecord(store.IDsDir, id, r.text()) }

// remove removes the record of the layer durably.
func remove(layer store.Layer) error {
	path := layer.Home.Overlay(store.IDsDir, layer.ID)
	return errors.Join(os.Remove(path), fsutil.SyncDir(filepath.Dir(path)))
}

// Read returns the record of the layer, or nil if it has none.
func Read(layer store.Layer) (*Record, error) {
	path := layer.Home.Overlay(store.IDsDir, layer.ID)
	text, err := fsutil.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	r, err := parse(path, text)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// sizeOf returns the size of a file, or -1 if there is no file of that name.
func sizeOf(path string) (int64, error) {
	st, err := fsutil.LstatOf(path)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	return st.Size, nil
}

// readAll returns the records of layers.
func readAll(layers []store.Layer) ([]*Record, error) {
	records := make([]*Record, len(layers))
	// Few stores have any record.
	has := map[store.Home]bool{}
	for n, layer := range layers {
		some, known := has[layer.Home]
		if !known {
			size, err := sizeOf(layer.Home.Overlay(store.IDsDir))
			if err != nil {
				return nil, store.LayerError("reading the owners of", layer.ID, err)
			}
			some = size >= 0
			has[layer.Home] = some
		}
		if !some {
			continue
		}
		r, err := Read(layer)
		if err != nil {
			return nil, store.LayerError("reading the owners of", layer.ID, err)
		}
		records[n] = r
	}
	return records, nil
}

// OnDisk returns the mappings between the ids that the layer id has on the disk and those in the container. given are what the library knows
// of the layer. It knows nothing of shifted layers, because it leaves the shifting to the driver.
func OnDisk(s store.Stores, id string, given *idmap.Mappings) (*idmap.Mappings, error) {
	if id == "" {
		// The parent of a layer without parents.
		return given, nil
	}
	err := store.CheckID(id)
	var r *Record
	if err == nil {
		r, err = recordFor(s, s.Find(id, s.Home))
	}
	if err != nil {
		return nil, store.LayerError("reading the owners of", id, err)
	}
	if r == nil || r.Kind != Shifted {
		return given, nil
	}
	if !given.Empty() && !given.Equal(&r.Maps) {
		return given, nil
	}
	maps := r.Maps
	// The host can have made files in the container, such as mount points, whose owners have no ids in it.
	maps.Lenient = true
	return &maps, nil
}

// recordFor returns the record that says whose ids the layer has, or nil if the layer has ids in a container. A layer that was made on top of a
// shifted one gets a record of its own with its first writable mount. Until then, the record is that of the shifted layer, if PlanOf takes the
// owners of the layer for ids of these maps.
func recordFor(s store.Stores, layer store.Layer) (*Record, error) {
	own, err := Read(layer)
	if err != nil || own != nil || !layer.Exists() {
		return own, err
	}
	parents, err := s.Parents(layer)
	if err != nil {
		return nil, err
	}
	records, err := readAll(parents)
	n := slices.IndexFunc(records, func(r *Record) bool { return r != nil })
	if err != nil || n < 0 || records[n].Kind != Shifted {
		return nil, err
	}
	p := &Plan{Maps: &records[n].Maps}
	if is, err := p.stateOf(layer, nil); err != nil || is != changed {
		return nil, err
	}
	return records[n], nil
}

// MustFit returns an error if unpacked files would have wrong owners in the layer id: the layer was shifted, and given, which has mapped the
// owners of the files, has other maps.
func MustFit(s store.Stores, id string, given *idmap.Mappings) error {
	r, err := recordFor(s, s.Find(id, s.Home))
	if err == nil && r != nil && r.Kind == Shifted && !r.Maps.Equal(given) {
		err = errHasMaps
	}
	return err
}

// Never returns an error if the layer id, or a layer below it, was shifted.
func Never(s store.Stores, id string) error {
	layer, err := s.Lookup("reading the owners of", id)
	if err != nil {
		return err
	}
	parents, err := s.Parents(layer)
	if err == nil {
		_, err = PlanOf(append([]store.Layer{layer}, parents...), true, Request{Disabled: true})
	}
	return err
}
