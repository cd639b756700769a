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

// NewGetter returns a reader of the files of the layer id.
func NewGetter(h store.Home, id string) (*Getter, error) {
	parents, err := h.Parents(id)
	if err != nil {
		return nil, err
	}
	held, err := Hold(h, id)
	if err != nil {
		return nil, store.LayerError("reading", id, err)
	}
	return &Getter{
		Held: held, asked: map[string]int{}, keeping: kept.In(h, append([]string{id}, parents...)),
		lineage: sync.OnceValues(func() ([]whiteout.LayerDir, error) { return lineageOf(h, id) }),
	}, nil
}

// lineageOf are the layer id and its ancestors, nearest first.
func lineageOf(h store.Home, id string) ([]whiteout.LayerDir, error) {
	f, err := h.Form(id)
	if err != nil {
		return nil, err
	}
	below, err := h.LayersBelow(id)
	if err != nil {
		return nil, err
	}
	return append([]whiteout.LayerDir{{Root: h.Diff(id), Form: f}}, below...), nil
}

// Getter reads the files of one layer.
type Getter struct {
	*Held
	// lineage are the layer and its ancestors. Most layers have all that is asked for, and nobody looks for others.
	lineage func() ([]whiteout.LayerDir, error)
	// keeping has the layers for which something is kept, and where, and asked counts what was asked for, by names, if there are any.
	keeping map[string]string
	asked   map[string]int
	mu      sync.Mutex // protects asked
}

// Get opens the file with a name as archives have it: with or without a '/', or a './', before it. Where an archive has several entries of
// one name with content, it has to be asked for each of them, in their order.
func (g *Getter) Get(name string) (io.ReadCloser, error) {
	rel := strings.TrimPrefix(filepath.Clean("/"+name), "/")
	k := g.next(rel)
	f, err := g.open(g.id, g.dir, k)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		f, err = g.fromBelow(k, err)
	}
	if err != nil {
		return nil, store.LayerError("reading "+name+" in", g.id, err)
	}
	return f, nil
}

// next is what the name is asked for now.
func (g *Getter) next(rel string) layertar.KeptName {
	if len(g.keeping) == 0 {
		return layertar.KeptName{Name: rel, N: 1}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked[rel]++
	return layertar.KeptName{Name: rel, N: g.asked[rel]}
}

// open opens what the layer id, whose directory is open, has of a name: what is kept for it, or the file.
func (g *Getter) open(id string, dir *os.File, k layertar.KeptName) (*os.File, error) {
	if place := g.keeping[id]; place != "" {
		f, err := kept.Open(place, k)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return kept.OpenInLayer(dir, k.Name)
}

// fromBelow opens a file of an ancestor that the layers above it do not hide. missing is the error if there is none.
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

// Close lets go of the layer's directory. Files that are open stay so.
func (g *Getter) Close() error { return g.dir.Close() }
