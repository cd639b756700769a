//go:build linux

package store

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

// The names in a store's home directory. This driver shares the first three with the in-tree driver. docs/on-disk.md describes all of them.
const (
	LayersDir  = "layers"
	DiffDir    = "diff"
	MntDir     = "mnt"
	TmpDir     = "tmp"
	OverlayDir = "overlay"
	KeptDir    = "kept"
)

// The names in overlay/. Each is made when it is first needed.
const (
	// FormDir holds the records of the layers' forms: see forms.go.
	FormDir = "form"
	// KnownDir and ShadowDir cache what a mount needs to know of layers: see cache.go and entry.go in package shadow.
	KnownDir  = "known"
	ShadowDir = "shadow"
	// WorkDir holds the work directories of overlay mounts. The first writable overlay mount of a layer makes the layer's work directory.
	WorkDir = "work"
	// WatchDir holds the upper directories of read-only overlay mounts. The first such mount of a layer makes the layer's directory.
	WatchDir = "watch"
	// AufsDir holds a note for each layer that aufs has mounted: see internal/core/inuse/notes.go.
	AufsDir = "aufs"
	// RunRootLink is a symbolic link to the run root, which holds such notes as well.
	RunRootLink = "runroot"
	// LockDirName holds the files that carry the layers' locks.
	LockDirName = "lock"
	// OwnersDir records the layers whose owners are being changed, or were changed: see internal/core/owners/owners.go.
	OwnersDir = "owners"
	// QuotaDir records the projects of the layers that have quotas: see internal/core/layerquota/quota.go.
	QuotaDir = "quota"
	// IDsDir records whose ids the owners in a layer's directory are: see internal/core/shift/record.go.
	IDsDir = "ids"
	// EmptyDir is a lower directory for overlay mounts that have fewer of their own than overlayfs needs.
	EmptyDir = "empty"
	// ImagesDir holds directories for the layers of additional image stores: see imagestate.go.
	ImagesDir = "images"
)

// Overlay returns the path of elem in overlay/.
func (h Home) Overlay(elem ...string) string {
	return filepath.Join(append([]string{string(h), OverlayDir}, elem...)...)
}

// Watch returns the upper directory of the read-only overlay mounts of the layer id.
func (h Home) Watch(id string) string { return h.BesideDiff().Overlay(WatchDir, id, "upper") }

// Home is the directory of a store.
type Home string

// Layers returns the file with the ancestors of the layer id. If id is "", it returns the directory of these files.
func (h Home) Layers(id string) string { return h.in(LayersDir, id) }

// Diff returns the directory of the files of the layer id. If id is "", it returns the directory of all layers.
func (h Home) Diff(id string) string { return h.in(DiffDir, id) }

// Mnt returns the mount point of the layer id. If id is "", it returns the directory of all mount points.
func (h Home) Mnt(id string) string { return h.in(MntDir, id) }

// Tmp returns the directory of scratch directories.
func (h Home) Tmp() string { return filepath.Join(string(h), TmpDir) }

// in returns the path of the layer id in dir, which is one of the directories above. If id is "", it returns the path of dir. It avoids
// filepath.Join, which is slower, because a mount needs some of these paths for each ancestor in its stack.
func (h Home) in(dir, id string) string {
	if id == "" || id == "." || id == ".." || strings.Contains(id, "/") {
		return filepath.Join(string(h), dir, id)
	}
	return string(h) + "/" + dir + "/" + id
}

// Exists reports whether the layer id is in the store, that is, whether its layers/<id> exists.
func (h Home) Exists(id string) bool {
	if CheckID(id) != nil {
		return false
	}
	st, err := fsutil.LstatOf(h.Layers(id))
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// Absent reports whether nothing at all has the name layers/<id>. It is not the opposite of Exists: if Absent cannot find out, it returns an error.
func (h Home) Absent(id string) (bool, error) {
	_, err := os.Lstat(h.Layers(id))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// List returns the ids of the layers in the store, sorted.
func (h Home) List() ([]string, error) {
	entries, err := os.ReadDir(h.Layers(""))
	if err != nil {
		return nil, OpError("listing the layers", err)
	}
	ids := make([]string, 0, len(entries))
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}

// Parents returns the ancestors of the layer id, nearest first, if all of them are in home. The error matches ErrLayerUnknown if the layer is
// not in the store. The error matches ErrDamaged if layers/<id> cannot be right: a line is no id or is there twice, or the nearest ancestor is
// not in the store, or the nearest ancestor has other ancestors than the rest of the list.
func (h Home) Parents(id string) ([]string, error) {
	parents, err := h.WrittenParents(id)
	if err != nil || len(parents) == 0 {
		return parents, err
	}
	if err := (Layer{h, id}).agrees(parents, Layer{h, parents[0]}); err != nil {
		return nil, LayerError("reading the parents of", id, err)
	}
	return parents, nil
}

// agrees returns an error if the layer l, whose file lists parents, and the nearest of these do not agree about their ancestors.
func (l Layer) agrees(parents []string, nearest Layer) error {
	if content, err := fsutil.ReadFile(nearest.Home.Layers(nearest.ID)); err == nil && bytes.Equal(content, FormatParents(parents[1:])) {
		// The nearest ancestor's file is just as this driver writes it.
		return nil
	}
	others, err := nearest.Home.WrittenParents(nearest.ID)
	if errors.Is(err, ErrLayerUnknown) {
		return damaged("%s names the layer %s, which is not in the store", l.Home.Layers(l.ID), nearest.ID)
	}
	if err == nil && !slices.Equal(others, parents[1:]) {
		return damaged("%s, of the layer's parent, does not list the ancestors that %s lists", nearest.Home.Layers(nearest.ID), l.Home.Layers(l.ID))
	}
	return err
}

// WrittenParents is Parents without the look at the nearest ancestor's file.
func (h Home) WrittenParents(id string) ([]string, error) {
	if err := CheckID(id); err != nil {
		return nil, LayerError("reading the parents of", id, err)
	}
	content, err := fsutil.ReadFile(h.Layers(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, UnknownLayer("reading the parents of", id)
	}
	if err != nil {
		return nil, LayerError("reading the parents of", id, err)
	}
	parents, err := ParseParents(id, content)
	if err != nil {
		return nil, LayerError("reading the parents of", id, damaged("%s: %w", h.Layers(id), err))
	}
	return parents, nil
}

// IsBase reports whether the layer id has no parents. It checks nothing else about layers/<id>.
func (h Home) IsBase(id string) (bool, error) {
	content, err := fsutil.ReadFile(h.Layers(id))
	if errors.Is(err, fs.ErrNotExist) {
		return false, UnknownLayer("reading the parents of", id)
	}
	if err != nil {
		return false, LayerError("reading the parents of", id, err)
	}
	return len(bytes.Trim(content, "\r\n")) == 0, nil
}

// ParseParents parses the content of layers/<id>, one id a line. It ignores empty lines, as the in-tree driver does. It is the inverse of
// FormatParents.
func ParseParents(id string, content []byte) ([]string, error) {
	lines := strings.Split(string(content), "\n")
	parents := make([]string, 0, len(lines))
	seen := make(map[string]bool, len(lines))
	for n, line := range lines {
		parent := strings.TrimSuffix(line, "\r")
		if parent == "" {
			continue
		}
		if err := CheckID(parent); err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", n+1, parent, err)
		}
		if parent == id {
			return nil, fmt.Errorf("line %d: the layer is among the ancestors of the layer itself", n+1)
		}
		if seen[parent] {
			return nil, fmt.Errorf("line %d: the layer %s is listed twice", n+1, parent)
		}
		seen[parent] = true
		parents = append(parents, parent)
	}
	if len(parents) == 0 {
		return nil, nil
	}
	return parents, nil
}

// FormatParents returns the content of layers/<id> for a layer with these ancestors. It is the inverse of ParseParents.
func FormatParents(parents []string) []byte {
	var b bytes.Buffer
	for _, parent := range parents {
		b.WriteString(parent)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// IsThere reports whether there is something at path. If the kernel cannot say so, there may be something, and IsThere returns true: what
// the caller then does with path returns the error.
func IsThere(path string) bool {
	_, err := fsutil.LstatOf(path)
	return err == nil || fsutil.IgnoreGone(err) != nil
}
