//go:build linux

package store

import "github.com/seed-642172e2/aufs/internal/core/whiteout"

// Belongings are the paths of all that belongs to the layer id, but for its layers/<id>. The mount point comes first: if
// it was mounted again it cannot be moved, and the data is still where it was.
func (h Home) Belongings(id string) []string {
	paths := []string{h.Mnt(id), h.Diff(id)}
	for _, a := range h.Areas() {
		paths = append(paths, a.LayerIn(id)...)
	}
	paths = append(paths,
		h.Overlay(AufsDir, id),
		h.Overlay(OwnersDir, id),
		h.Overlay(FormDir, id),
		h.Overlay(LockDirName, id),
	)
	for _, f := range []whiteout.Form{whiteout.AufsForm, whiteout.OverlayTrusted, whiteout.OverlayUser} {
		paths = append(paths, h.Overlay(KnownDir, string(f), id))
	}
	return paths
}
