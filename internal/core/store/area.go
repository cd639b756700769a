//go:build linux

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"golang.org/x/sys/unix"
)

// Home, diff and mnt can each be a mount point, on another disk than the directory above it. Files can be linked and renamed only inside
// one mount. So while diff is an ordinary directory, files that must share a mount with diff/<id> are in home. While diff is a mount point,
// they are in the directory BesideName in diff, which has tmp/, kept/ and overlay/ as home has.

// BesideName is the directory in diff for everything that must share a mount with diff/<id>, if diff is a mount point. No layer can have
// this name. The in-tree driver deletes the directory when it sweeps its leftovers.
const BesideName = "aufs" + removingSuffix

// An Area is a directory that holds tmp/, kept/ and overlay/.
type Area string

// Tmp returns the directory of scratch directories.
func (a Area) Tmp() string { return filepath.Join(string(a), TmpDir) }

// Overlay returns the path of elem in overlay/.
func (a Area) Overlay(elem ...string) string {
	return filepath.Join(append([]string{string(a), OverlayDir}, elem...)...)
}

// whole returns home itself as an area, for everything that can share a mount with home.
func (h Home) whole() Area { return Area(h) }

// BesideDiff returns the area for everything that must share a mount with diff/<id>: scratch directories, kept content, shadows, and the
// work and watch directories of overlayfs.
func (h Home) BesideDiff() Area {
	if isMountPoint(h.Diff("")) {
		return Area(h.Diff(BesideName))
	}
	return h.whole()
}

// Areas returns every area that exists, not only the current one: diff may have become a mount point, or stopped being one, since files
// were put there.
func (h Home) Areas() []Area {
	if IsThere(h.Diff(BesideName)) {
		return []Area{h.whole(), Area(h.Diff(BesideName))}
	}
	return []Area{h.whole()}
}

// MakeBeside makes the area in diff and its tmp/, if diff is a mount point. It returns the directories that it made.
func (h Home) MakeBeside() (made []string, err error) {
	a := h.BesideDiff()
	if a == h.whole() {
		return nil, nil
	}
	for _, dir := range []string{string(a), a.Tmp()} {
		err := fsutil.MkdirWithoutACL(dir, 0o700)
		if err == nil {
			made = append(made, dir)
		} else if !errors.Is(err, fs.ErrExist) && !HasNoRoom(err) {
			return made, err
		}
	}
	return made, nil
}

// RealDirectories returns an error if one of the store's directories is a symbolic link, or no directory at all.
func (h Home) RealDirectories() error {
	for _, dir := range append([]string{h.Layers(""), h.Diff(""), h.Mnt("")}, h.OwnDirectories()...) {
		if err := fsutil.RealDirectory(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// RightMounts returns an error if something is mounted in a part of the store that must be one mount.
func (h Home) RightMounts() error {
	mounts, err := mountutil.MountsUnder(string(h))
	if err != nil || len(mounts) == 0 {
		return err
	}
	root, err := filepath.EvalSymlinks(string(h))
	if err != nil {
		return err
	}
	for _, m := range mounts {
		rel := strings.TrimPrefix(m.Mountpoint, root+"/")
		if beside, ok := strings.CutPrefix(rel, filepath.Join(DiffDir, BesideName)); ok {
			rel = strings.TrimPrefix(beside, "/")
			if rel == "" {
				rel = TmpDir
			}
		}
		switch first, _, below := strings.Cut(rel, "/"); {
		case first == DiffDir, first == MntDir:
		case first == TmpDir && below:
			// This is a mount in a scratch directory. The process that made it may have been killed before it could move the mount to its
			// place.
		case first == TmpDir, first == LayersDir, first == OverlayDir, first == KeptDir:
			return fmt.Errorf("%s is a mount point, of type %s, and has to be unmounted: in a store, only the directories %s and %s can be mount points: %w",
				m.Mountpoint, m.FSType, DiffDir, MntDir, unix.EXDEV)
		}
	}
	return nil
}

// Sync makes the whole store durable.
func (h Home) Sync() error {
	dirs := []string{string(h)}
	if beside := h.BesideDiff(); beside != h.whole() {
		dirs = append(dirs, h.Diff(""))
	}
	for _, path := range dirs {
		dir, err := os.Open(path)
		if err != nil {
			return err
		}
		err = fsutil.SyncFS(int(dir.Fd()), path)
		_ = dir.Close() // it was only synced
		if err != nil {
			return err
		}
	}
	return nil
}

// Kept returns the directory of the content kept for the layer id. The directory has hard links to the layer's files, so it must share a
// mount with them.
func (a Area) Kept(id string) string { return filepath.Join(string(a), KeptDir, id) }

// Kept returns the directory of the content kept for the layer id, in the current area.
func (h Home) Kept(id string) string { return h.BesideDiff().Kept(id) }

// CloseOverlay denies other users access to overlay/, which holds the lock files.
func (h Home) CloseOverlay() error {
	st, err := fsutil.LstatOf(h.Overlay())
	if err == nil && st.Mode&0o077 != 0 && st.Uid == uint32(os.Geteuid()) {
		err = os.Chmod(h.Overlay(), 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EROFS) {
		return err
	}
	return nil
}
