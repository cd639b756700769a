//go:build linux

package store

import (
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// What a layer owns on disk, beside its layers/<id>, mnt/<id> and diff/<id>, is <id> in each of the directories that these two lists
// have. Whoever adds a directory for layers names it in dirs.go, and adds it to one of them: removal, sweep, Check and the test for leftovers
// go by them.

// dirsInOverlay are those in overlay/ of the home directory.
var dirsInOverlay = []string{
	AufsDir, OwnersDir, FormDir, LockDirName,
	filepath.Join(KnownDir, string(whiteout.AufsForm)),
	filepath.Join(KnownDir, string(whiteout.OverlayTrusted)),
	filepath.Join(KnownDir, string(whiteout.OverlayUser)),
}

// dirsOfLayers are those of an area. They are there, and not in overlay/, if their files are linked to those in diff, or renamed.
func (a Area) dirsOfLayers() []string {
	return []string{a.Overlay(ShadowDir), a.Overlay(WatchDir), a.Overlay(WorkDir), a.Kept("")}
}

// Belongings are the paths of all that belongs to the layer id, but for its layers/<id>. The mount point comes first: if
// it was mounted again it cannot be moved, and the data is still where it was. Of "" they are the directories of all layers.
func (h Home) Belongings(id string) []string {
	paths := []string{h.Mnt(id), h.Diff(id)}
	for _, a := range h.Areas() {
		for _, dir := range a.dirsOfLayers() {
			paths = append(paths, filepath.Join(dir, id))
		}
	}
	for _, dir := range dirsInOverlay {
		paths = append(paths, h.Overlay(dir, id))
	}
	return paths
}

// OwnDirectories are those of the driver's own that there can be in a store, but for those of layers and of mounts.
func (h Home) OwnDirectories() []string {
	dirs := []string{h.Overlay(EmptyDir), h.Overlay(KnownDir)}
	for _, dir := range dirsInOverlay {
		dirs = append(dirs, h.Overlay(dir))
	}
	for _, a := range h.Areas() {
		if a != h.whole() {
			dirs = append(dirs, string(a))
		}
		dirs = append(dirs, a.Tmp(), a.Overlay())
		dirs = append(dirs, a.dirsOfLayers()...)
	}
	return dirs
}
