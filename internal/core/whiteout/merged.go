//go:build linux

package whiteout

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A LayerDir is the directory of a layer, and the form of the layer.
type LayerDir struct {
	Root string
	Form Form
}

// A Merged is one directory as several layers show it together, read once.
type Merged struct {
	layers   []LayerDir
	listings []Listing
}

// ReadMerged reads the directory rel of layers, nearest first, down to the first layer in which it is opaque. All of the layers must have
// the directory. wanted has the files that Stat can describe; nil stands for none.
func ReadMerged(layers []LayerDir, rel string, wanted map[string]fs.DirEntry) (Merged, error) {
	m := Merged{}
	look := func(name string) bool { return wanted[name] != nil && !m.Shows(name) }
	for _, layer := range layers {
		l, err := listDirectory(layer.Root, rel, layer.Form, look)
		if err != nil {
			return m, err
		}
		m.layers = append(m.layers, layer)
		m.listings = append(m.listings, l)
		if l.Opaque {
			break
		}
	}
	return m, nil
}

// top returns the index of the nearest layer that shows name, or -1 if none does.
func (m Merged) top(name string) int {
	for i, l := range m.listings {
		switch {
		case l.Entries[name] != nil:
			return i
		case l.Whiteouts[name]:
			return -1
		}
	}
	return -1
}

// Shows reports whether the directory shows something under name.
func (m Merged) Shows(name string) bool { return m.top(name) >= 0 }

// Names returns all names that the directory shows.
func (m Merged) Names() map[string]bool {
	names := map[string]bool{}
	for _, l := range m.listings {
		for name := range l.Entries {
			if !names[name] && m.Shows(name) {
				names[name] = true
			}
		}
	}
	return names
}

// Stat describes what the directory shows under name. The result is nil if the directory shows nothing there. name has to be in the wanted
// files that were passed to ReadMerged.
func (m Merged) Stat(name string) (fs.FileInfo, error) {
	i := m.top(name)
	if i < 0 {
		return nil, nil //nolint:nilnil // there is nothing of that name
	}
	return m.listings[i].Entries[name].Info()
}

// Root returns the root of the layer whose file the directory shows under name. The directory has to show something there.
func (m Merged) Root(name string) string { return m.layers[m.top(name)].Root }

// Dirs returns the layers whose directories make up the directory name: from the nearest one down to a file, a whiteout or the last layer.
func (m Merged) Dirs(name string) []LayerDir {
	var dirs []LayerDir
	for i, l := range m.listings {
		entry := l.Entries[name]
		if entry != nil && entry.IsDir() {
			dirs = append(dirs, m.layers[i])
		} else if entry != nil {
			break
		}
		if l.Whiteouts[name] {
			break
		}
	}
	return dirs
}

// Hides reports whether the layer, which does not have the file rel, hides the file that its ancestors have there. It can do so by a
// whiteout, an opaque directory, or something else in the place of a directory.
func (l LayerDir) Hides(rel string) (bool, error) {
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

// hidesIn is Hides for one name in the directory dir. more says that name is a directory of the layer, so that the caller has to look
// further inside it.
func (l LayerDir) hidesIn(dir, name string) (hidden, more bool, err error) {
	open, err := fsutil.OpenDir(l.Root, dir)
	if err != nil {
		return false, false, err
	}
	defer open.Close()
	if opaque, err := IsOpaque(fsutil.Within(open, "."), l.Form); err != nil || opaque {
		return opaque, false, err
	}
	st, err := fsutil.StatIn(open, Prefix+name)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && (l.Form == AufsForm || st.Size == 0) {
		return true, false, nil
	}
	if fsutil.IgnoreGone(err) != nil && !errors.Is(err, unix.ENAMETOOLONG) {
		return false, false, err
	}
	st, err = fsutil.StatIn(open, name)
	if err != nil {
		return false, false, fsutil.IgnoreGone(err)
	}
	// Anything but a directory hides the ancestors' directory of that name. So does a whiteout in overlay form.
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	return !isDir, isDir, nil
}
