//go:build linux

package layerdiff

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// NewGetter returns a reader of the files of the layer.
func NewGetter(s store.Stores, layer store.Layer) (*Getter, error) {
	parents, err := s.Parents(layer)
	if err != nil {
		return nil, store.LayerError("reading", layer.ID, err)
	}
	held, err := Hold(layer)
	if err != nil {
		return nil, store.LayerError("reading", layer.ID, err)
	}
	return &Getter{
		Held: held, asked: map[string]int{}, keeping: kept.In(append([]store.Layer{layer}, parents...)),
		lineage: sync.OnceValues(func() ([]whiteout.LayerDir, error) { return lineageOf(s, layer) }),
	}, nil
}

// lineageOf returns the layer and its ancestors, nearest first.
func lineageOf(s store.Stores, layer store.Layer) ([]whiteout.LayerDir, error) {
	dir, err := layer.WithForm()
	if err != nil {
		return nil, err
	}
	below, err := s.Below(layer)
	if err != nil {
		return nil, err
	}
	return append([]whiteout.LayerDir{dir}, below...), nil
}

// A Getter reads the files of one layer.
type Getter struct {
	*Held
	// lineage returns the layer and its ancestors. It is called only for a file that the layer does not have; most
	// layers have all files that are asked for.
	lineage func() ([]whiteout.LayerDir, error)
	// keeping maps each layer with kept content to the directory of that content. If there is any, asked counts the
	// requests for each name.
	keeping map[string]string
	asked   map[string]int
	mu      sync.Mutex // protects asked
}

// Get opens the file with this name in the layer's archive, with or without a leading '/' or './'. If the archive has
// several entries with content for one name, the caller must ask for each of them, in the order of the archive.
func (g *Getter) Get(name string) (io.ReadCloser, error) {
	rel := strings.TrimPrefix(filepath.Clean("/"+name), "/")
	k := g.next(rel)
	f, err := g.open(g.ID, g.dir, k)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		f, err = g.fromBelow(k, err)
	}
	if err != nil {
		return nil, store.LayerError("reading "+name+" in", g.ID, err)
	}
	return f, nil
}

// next returns the name together with the number of this request for it.
func (g *Getter) next(rel string) layertar.KeptName {
	if len(g.keeping) == 0 {
		return layertar.KeptName{Name: rel, N: 1}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked[rel]++
	return layertar.KeptName{Name: rel, N: g.asked[rel]}
}

// open opens what the layer id has for a name: kept content or, if there is none, the file. dir is the layer's
// directory.
func (g *Getter) open(id string, dir *os.File, k layertar.KeptName) (*os.File, error) {
	if place := g.keeping[id]; place != "" {
		f, err := kept.Open(place, k)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return kept.OpenInLayer(dir, k.Name)
}

// fromBelow opens a file of an ancestor that no layer above it hides. It returns missing if there is none.
func (g *Getter) fromBelow(k layertar.KeptName, missing error) (*os.File, error) {
	if err := g.still(); err != nil {
		return nil, err
	}
	layers, err := g.lineage()
	if err != nil {
		return nil, err
	}
	for i, layer := range layers[1:] {
		if hidden, err := layers[i].Hides(k.Name); err != nil {
			return nil, err
		} else if hidden {
			return nil, missing
		}
		root, err := os.OpenFile(layer.Root, fsutil.OpenDirectory, 0)
		if err != nil {
			return nil, err
		}
		f, err := g.open(filepath.Base(layer.Root), root, k)
		_ = root.Close() // it was only read
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return f, err
		}
	}
	return nil, missing
}

// Close releases the layer's directory. Files that are open stay open.
func (g *Getter) Close() error { return g.dir.Close() }
