//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// layerDir is a layer whose directory is read together with others.
type layerDir struct {
	root string
	form form
}

// merged is one directory as the ancestors show it, read once.
type merged struct {
	layers   []layerDir
	listings []listing
}

// readMerged reads the directory rel of layers, nearest first, as far as they are not hidden. All of them have it. Those files that are
// wanted can be asked for with stat; nil stands for none.
func readMerged(layers []layerDir, rel string, wanted map[string]fs.DirEntry) (merged, error) {
	m := merged{}
	look := func(name string) bool { return wanted[name] != nil && !m.shows(name) }
	for _, layer := range layers {
		l, err := listDirectory(layer.root, rel, layer.form, look)
		if err != nil {
			return m, err
		}
		m.layers = append(m.layers, layer)
		m.listings = append(m.listings, l)
		if l.opaque {
			break
		}
	}
	return m, nil
}

// top is the number of the nearest layer that shows name, or -1 if none does.
func (m merged) top(name string) int {
	for i, l := range m.listings {
		switch {
		case l.whiteouts[name]:
			return -1
		case l.entries[name] != nil:
			return i
		}
	}
	return -1
}

func (m merged) shows(name string) bool { return m.top(name) >= 0 }

// names are all that the directory shows.
func (m merged) names() map[string]bool {
	names := map[string]bool{}
	for _, l := range m.listings {
		for name := range l.entries {
			if !names[name] && m.shows(name) {
				names[name] = true
			}
		}
	}
	return names
}

// stat describes what the directory shows under name, which was wanted, or is nil if it shows nothing.
func (m merged) stat(name string) (fs.FileInfo, error) {
	i := m.top(name)
	if i < 0 {
		return nil, nil //nolint:nilnil // there is nothing of that name
	}
	return m.listings[i].entries[name].Info()
}

// root is that of the layer of which the directory shows something under name; it has to show something.
func (m merged) root(name string) string { return m.layers[m.top(name)].root }

// dirs are the layers whose directories make up the directory name: from the nearest one on down to a file, a whiteout or
// the end.
func (m merged) dirs(name string) []layerDir {
	var dirs []layerDir
	for i, l := range m.listings {
		if l.whiteouts[name] {
			break
		}
		entry := l.entries[name]
		if entry == nil {
			continue
		}
		if !entry.IsDir() {
			break
		}
		dirs = append(dirs, m.layers[i])
	}
	return dirs
}

// hides tells if the layer, which does not have the file rel, keeps that of its ancestors from being seen: by a whiteout, an opaque
// directory, or something else in the place of a directory.
func (l layerDir) hides(rel string) (bool, error) {
	dir := "."
	for _, name := range strings.Split(rel, "/") {
		hidden, more, err := l.hidesIn(dir, name)
		if hidden || !more || err != nil {
			return hidden, err
		}
		dir = filepath.Join(dir, name)
	}
	return false, nil
}

// hidesIn is hides for one name in the directory dir. There is more to look at if that is a directory of the layer.
func (l layerDir) hidesIn(dir, name string) (hidden, more bool, err error) {
	open, err := fsutil.OpenDir(l.root, dir)
	if err != nil {
		return false, false, err
	}
	defer open.Close()
	if opaque, err := isOpaque(fsutil.Within(open, "."), l.form); err != nil || opaque {
		return opaque, false, err
	}
	st, err := fsutil.StatIn(open, whiteoutPrefix+name)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && (l.form == aufsForm || st.Size == 0) {
		return true, false, nil
	}
	if fsutil.IgnoreGone(err) != nil && !errors.Is(err, unix.ENAMETOOLONG) {
		return false, false, err
	}
	st, err = fsutil.StatIn(open, name)
	if err != nil {
		return false, false, fsutil.IgnoreGone(err)
	}
	// In the place of a directory of the ancestors, anything else hides it. So does a whiteout of overlay form.
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	return !isDir, isDir, nil
}
