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

// Home, diff and mnt can be mount points: on another disk than what is around them. Files are linked and renamed inside of one mount only.
// So what has to share a mount with diff/<id> lies in home for as long as diff is a directory like others, and in diff if that is a mount
// point: in a directory with the name BesideName, which has tmp/, kept/ and overlay/ as home has.

// BesideName is the name, in diff, of that directory. No layer can have it, and the in-tree driver takes it for rubbish.
const BesideName = "aufs" + removingSuffix

// An Area is a directory with tmp/, kept/ and overlay/ in it.
type Area string

// Tmp is the directory of scratch directories.
func (a Area) Tmp() string { return filepath.Join(string(a), TmpDir) }

// Overlay is a path in overlay/.
func (a Area) Overlay(elem ...string) string {
	return filepath.Join(append([]string{string(a), OverlayDir}, elem...)...)
}

// whole is the area of what can share a mount with home.
func (h Home) whole() Area { return Area(h) }

// BesideDiff is the area of what has to share a mount with diff/<id>: scratch directories, what is kept, shadows, and the work and watch
// directories of overlayfs.
func (h Home) BesideDiff() Area {
	if isMountPoint(h.Diff("")) {
		return Area(h.Diff(BesideName))
	}
	return h.whole()
}

// Areas are all that there are: diff may have been a mount point before, or not yet.
func (h Home) Areas() []Area {
	if IsThere(h.Diff(BesideName)) {
		return []Area{h.whole(), Area(h.Diff(BesideName))}
	}
	return []Area{h.whole()}
}

// MakeBeside makes the directory in diff, if that is a mount point, and returns what it made.
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

// RealDirectories is an error if one of the store's directories is not where it seems to be.
func (h Home) RealDirectories() error {
	for _, dir := range append([]string{h.Layers(""), h.Diff(""), h.Mnt("")}, h.OwnDirectories()...) {
		if err := fsutil.RealDirectory(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("aufs: opening the store: %w", err)
		}
	}
	return nil
}

// RightMounts is an error if something is mounted in the store where it has to be one mount.
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
			// A process mounts there before it moves the mount to its place, or was killed before that.
		case first == TmpDir, first == LayersDir, first == OverlayDir, first == KeptDir:
			return fmt.Errorf("aufs: opening the store: %s is a mount point, of type %s: of a store its home, %s, can be one as a whole, "+
				"and %s and %s in it; nothing else: %w", m.Mountpoint, m.FSType, string(h), DiffDir, MntDir, unix.EXDEV)
		}
	}
	return nil
}

// Sync has all of the store on the disk.
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

// Kept is the path of what is kept for the layer id. It has links to the layer's files, and shares a mount with them.
func (a Area) Kept(id string) string { return filepath.Join(string(a), KeptDir, id) }

// Kept is where it is kept now.
func (h Home) Kept(id string) string { return h.BesideDiff().Kept(id) }

// CloseOverlay keeps others out of overlay/, where the locks are.
func (h Home) CloseOverlay() error {
	st, err := fsutil.LstatOf(h.Overlay())
	if err == nil && st.Mode&0o077 != 0 && st.Uid == uint32(os.Geteuid()) { //nolint:gosec // it fits
		err = os.Chmod(h.Overlay(), 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("aufs: opening the store: %w", err)
	}
	return nil
}
