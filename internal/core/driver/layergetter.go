//go:build linux

package driver

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// DiffGetter returns a reader of the files of a layer, by their names in its archive. A file that the layer's own directory does not have
// is that of the nearest ancestor, if the layer does not hide it: a layer that was made from a template has all of its files there.
//
// Names and symbolic links in them are looked up with the layer's directory as the root. Only regular files are opened.
func (d *Driver) DiffGetter(id string) (*LayerGetter, error) {
	parents, err := d.home.Parents(id)
	if err != nil {
		return nil, err
	}
	held, err := hold(d.home, id)
	if err != nil {
		return nil, store.LayerError("reading", id, err)
	}
	return &LayerGetter{
		heldLayer: held, asked: map[string]int{}, keeping: keeping(d.home, append([]string{id}, parents...)),
		lineage: sync.OnceValues(func() ([]whiteout.LayerDir, error) { return d.lineageOf(id) }),
	}, nil
}

// lineageOf are the layer id and its ancestors, nearest first.
func (d *Driver) lineageOf(id string) ([]whiteout.LayerDir, error) {
	f, err := d.home.Form(id)
	if err != nil {
		return nil, err
	}
	below, err := d.layersBelow(id)
	if err != nil {
		return nil, err
	}
	return append([]whiteout.LayerDir{{Root: d.home.Diff(id), Form: f}}, below...), nil
}

// LayerGetter reads the files of one layer.
type LayerGetter struct {
	*heldLayer
	// lineage are the layer and its ancestors. Most layers have all that is asked for, and nobody looks for others.
	lineage func() ([]whiteout.LayerDir, error)
	// keeping has the layers for which something is kept, and where, and asked counts what was asked for, by names, if there are any.
	keeping map[string]string
	asked   map[string]int
	mu      sync.Mutex // protects asked
}

// Get opens the file with a name as archives have it: with or without a '/', or a './', before it. Where an archive has several entries of
// one name with content, it has to be asked for each of them, in their order.
func (g *LayerGetter) Get(name string) (io.ReadCloser, error) {
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
func (g *LayerGetter) next(rel string) layertar.KeptName {
	if len(g.keeping) == 0 {
		return layertar.KeptName{Name: rel, N: 1}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked[rel]++
	return layertar.KeptName{Name: rel, N: g.asked[rel]}
}

// open opens what the layer id, whose directory is open, has of a name: what is kept for it, or the file.
func (g *LayerGetter) open(id string, dir *os.File, k layertar.KeptName) (*os.File, error) {
	if kept := g.keeping[id]; kept != "" {
		f, err := openKept(kept, k)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return openInLayer(dir, k.Name)
}

// fromBelow opens a file of an ancestor that the layers above it do not hide. missing is the error if there is none.
func (g *LayerGetter) fromBelow(k layertar.KeptName, missing error) (*os.File, error) {
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
func (g *LayerGetter) Close() error { return g.dir.Close() }

// openInLayer opens the regular file rel of the layer whose directory is open.
func openInLayer(root *os.File, rel string) (*os.File, error) {
	path := filepath.Join(root.Name(), rel)
	place, err := fsutil.PlaceInRoot(int(root.Fd()), rel)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(place)
	var st syscall.Stat_t
	fd, err := fsutil.OpenKind(place, &st, unix.S_IFREG)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
