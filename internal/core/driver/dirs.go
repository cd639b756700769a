//go:build linux

package driver

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
	"golang.org/x/sys/unix"
)

// The names in a store's home directory. The first three are the layout that this driver shares with the in-tree one;
// doc.go describes all of them.
const (
	layersDir  = "layers"
	diffDir    = "diff"
	mntDir     = "mnt"
	tmpDir     = "tmp"
	overlayDir = "overlay"
	keptDir    = "kept"
)

// The directories of overlay/, all of which are made when they are first needed.
const (
	// formDir says of layers that they are in overlay form: see forms.go.
	formDir = "form"
	// knownDir and shadowDir are a cache of what mounts have to know of layers: see known.go and shadow.go.
	knownDir  = "known"
	shadowDir = "shadow"
	// workDir holds the work directories of overlay mounts, which layers have from the first mount on.
	workDir = "work"
	// watchDir holds the upper directories of read-only overlay mounts, which layers have from the first one on.
	watchDir = "watch"
	// aufsDir holds, for each layer that aufs has mounted, a note of that: see mountnote.go.
	aufsDir = "aufs"
	// runRootLink is a symbolic link to the run root in which there are such notes.
	runRootLink = "runroot"
	// lockDirName holds the files that the layers' locks are on.
	lockDirName = "lock"
	// emptyDir is a lower directory for mounts that have no other one.
	emptyDir = "empty"
)

// overlay is a path in overlay/.
func (h home) overlay(elem ...string) string {
	return filepath.Join(append([]string{string(h), overlayDir}, elem...)...)
}

// watch is the upper directory of read-only overlay mounts of the layer id.
func (h home) watch(id string) string { return h.besideDiff().overlay(watchDir, id, "upper") }

// home is the directory of a store.
type home string

func (h home) layers(id string) string { return h.in(layersDir, id) }
func (h home) diff(id string) string   { return h.in(diffDir, id) }
func (h home) mnt(id string) string    { return h.in(mntDir, id) }
func (h home) tmp() string             { return filepath.Join(string(h), tmpDir) }

// in is the path of the layer id in one of these directories, or that of the directory, if id is "". Of each ancestor in a stack
// some are wanted, and filepath.Join takes longer.
func (h home) in(dir, id string) string {
	if id == "" || id == "." || id == ".." || strings.Contains(id, "/") {
		return filepath.Join(string(h), dir, id)
	}
	return string(h) + "/" + dir + "/" + id
}

// exists tells if the layer id is in the store: if its layers/<id> is there.
func (h home) exists(id string) bool {
	if checkID(id) != nil {
		return false
	}
	st, err := fsutil.LstatOf(h.layers(id))
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// absent tells if there is nothing at all of the name layers/<id>. It is not the opposite of exists: what cannot be told
// is an error.
func (h home) absent(id string) (bool, error) {
	_, err := os.Lstat(h.layers(id))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// list returns the ids of the layers in the store, sorted.
func (h home) list() ([]string, error) {
	entries, err := os.ReadDir(h.layers(""))
	if err != nil {
		return nil, fmt.Errorf("aufs: listing the layers: %w", err)
	}
	ids := make([]string, 0, len(entries))
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}

// parents returns the ancestors of the layer id, nearest first. The error matches ErrLayerUnknown if the
// layer is not in the store, and ErrDamaged if its layers/<id> cannot be right: a line is no id
// or is there twice, or the nearest ancestor is not in the store, or has other ancestors than the rest of them.
func (h home) parents(id string) ([]string, error) {
	parents, err := h.writtenParents(id)
	if err != nil || len(parents) == 0 {
		return parents, err
	}
	nearest := parents[0]
	if content, err := fsutil.ReadFile(h.layers(nearest)); err == nil && bytes.Equal(content, formatParents(parents[1:])) {
		// As this driver writes it.
		return parents, nil
	}
	others, err := h.writtenParents(nearest)
	if errors.Is(err, ErrLayerUnknown) {
		err = fmt.Errorf("%w: %s names the layer %s, which is not in the store", ErrDamaged, h.layers(id), nearest)
	} else if err == nil && !slices.Equal(others, parents[1:]) {
		err = fmt.Errorf("%w: %s and that of its parent %s do not agree about their ancestors", ErrDamaged, h.layers(id), nearest)
	}
	if err != nil {
		return nil, layerError("reading the parents of", id, err)
	}
	return parents, nil
}

// writtenParents is parents without a look at another layer.
func (h home) writtenParents(id string) ([]string, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	content, err := fsutil.ReadFile(h.layers(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unknownLayer("reading the parents of", id)
	}
	if err != nil {
		return nil, layerError("reading the parents of", id, err)
	}
	parents, err := parseParents(id, content)
	if err != nil {
		return nil, layerError("reading the parents of", id, fmt.Errorf("%w: %s: %w", ErrDamaged, h.layers(id), err))
	}
	return parents, nil
}

// isBase tells if the layer id has no parents, of which it does not look at more than that.
func (h home) isBase(id string) (bool, error) {
	content, err := fsutil.ReadFile(h.layers(id))
	if errors.Is(err, fs.ErrNotExist) {
		return false, unknownLayer("reading the parents of", id)
	}
	if err != nil {
		return false, layerError("reading the parents of", id, err)
	}
	return len(bytes.Trim(content, "\r\n")) == 0, nil
}

// parentDirs returns the diff directories of parents, in their order. One that is missing is an error: a stack without
// it would show, without a word, another tree.
func (h home) parentDirs(id string, parents []string) ([]string, error) {
	dirs := make([]string, 0, len(parents))
	for _, parent := range parents {
		dir := h.diff(parent)
		if err := fsutil.RealDirectory(dir); err != nil {
			return nil, layerError("using the parent "+parent+" of", id, err)
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// parseParents reads the content of layers/<id>, one id a line. Empty lines count for nothing, as in the in-tree
// driver. It is the inverse of formatParents.
func parseParents(id string, content []byte) ([]string, error) {
	lines := strings.Split(string(content), "\n")
	parents := make([]string, 0, len(lines))
	seen := make(map[string]bool, len(lines))
	seen[id] = true
	for n, line := range lines {
		parent := strings.TrimSuffix(line, "\r")
		if parent == "" {
			continue
		}
		if err := checkID(parent); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		if seen[parent] {
			return nil, fmt.Errorf("line %d: %s is there twice, or is its own ancestor", n+1, parent)
		}
		seen[parent] = true
		parents = append(parents, parent)
	}
	if len(parents) == 0 {
		return nil, nil
	}
	return parents, nil
}

// formatParents is the content of layers/<id> for a layer with these ancestors. It is the inverse of parseParents.
func formatParents(parents []string) []byte {
	var b bytes.Buffer
	for _, parent := range parents {
		b.WriteString(parent)
		b.WriteByte('\n')
	}
	return b.Bytes()
}
