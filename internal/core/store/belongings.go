//go:build linux

package store

import (
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// On disk, a layer owns layers/<id>, mnt/<id> and diff/<id>, and the entry <id> in each directory of the two lists below. Whoever adds a
// directory for layers names it in dirs.go and adds it to one of the lists: removal, the sweep, Check and the test for leftovers use these
// lists.

// dirsInOverlay are the directories of layers that are in home's overlay/.
var dirsInOverlay = []string{
	AufsDir, OwnersDir, IDsDir, FormDir, QuotaDir, LockDirName,
	filepath.Join(KnownDir, string(whiteout.AufsForm)),
	filepath.Join(KnownDir, string(whiteout.OverlayTrusted)),
	filepath.Join(KnownDir, string(whiteout.OverlayUser)),
}

// dirsOfLayers returns the directories of layers that are in the area. A directory belongs here, and not in dirsInOverlay, if its files are
// hard links to files in diff, or are renamed from or to diff or a scratch directory.
func (a Area) dirsOfLayers() []string {
	return []string{a.Overlay(ShadowDir), a.Overlay(WatchDir), a.Overlay(WorkDir), a.Kept("")}
}

// Belongings returns the paths of everything that belongs to the layer id, except its layers/<id>. The mount point comes first: if somebody
// has mounted there again, it cannot be moved, and the data is still in its place. For the id "", Belongings returns the directories that
// contain these paths for all layers.
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

// OwnDirectories returns the directories that only this driver has in a store, whether they exist or not. So layers/, diff/ and mnt/ are not
// among them.
func (h Home) OwnDirectories() []string {
	dirs := []string{h.Overlay(EmptyDir), h.Overlay(KnownDir), h.Overlay(ImagesDir), h.Mnt(BesideName)}
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
