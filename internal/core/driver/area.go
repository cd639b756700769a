//go:build linux

package driver

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
// point: in a directory with the name besideName, which has tmp/ and overlay/ as home has.

// besideName is the name, in diff, of that directory. No layer can have it, and the in-tree driver takes it for rubbish.
const besideName = "aufs" + removingSuffix

// An area is a directory with tmp/ and overlay/ in it.
type area string

func (a area) tmp() string { return filepath.Join(string(a), tmpDir) }

// overlay is a path in overlay/.
func (a area) overlay(elem ...string) string {
	return filepath.Join(append([]string{string(a), overlayDir}, elem...)...)
}

// whole is the area of what can share a mount with home.
func (h home) whole() area { return area(h) }

// besideDiff is the area of what has to share a mount with diff/<id>: scratch directories, shadows, and the work and watch
// directories of overlayfs.
func (h home) besideDiff() area {
	if isMountPoint(h.diff("")) {
		return area(h.diff(besideName))
	}
	return h.whole()
}

// areas are all that there are: diff may have been a mount point before, or not yet.
func (h home) areas() []area {
	if isThere(h.diff(besideName)) {
		return []area{h.whole(), area(h.diff(besideName))}
	}
	return []area{h.whole()}
}

// layerIn are the paths of what belongs to the layer id in an area, and has no more to do with any other one.
func (a area) layerIn(id string) []string {
	return []string{a.overlay(shadowDir, id), a.overlay(watchDir, id), a.overlay(workDir, id), a.kept(id)}
}

// makeBeside makes the directory in diff, if that is a mount point, and returns what it made.
func (h home) makeBeside() (made []string, err error) {
	a := h.besideDiff()
	if a == h.whole() {
		return nil, nil
	}
	for _, dir := range []string{string(a), a.tmp()} {
		err := fsutil.MkdirWithoutACL(dir, 0o700)
		if err == nil {
			made = append(made, dir)
		} else if !errors.Is(err, fs.ErrExist) && !hasNoRoom(err) {
			return made, err
		}
	}
	return made, nil
}

// ownDirectories are those of the driver's own that there can be in a store, but for those of layers and of mounts.
func (h home) ownDirectories() []string {
	var dirs []string
	for _, name := range []string{formDir, knownDir, aufsDir, ownersDir, lockDirName, emptyDir} {
		dirs = append(dirs, h.overlay(name))
	}
	for _, a := range h.areas() {
		if a != h.whole() {
			dirs = append(dirs, string(a))
		}
		dirs = append(dirs, a.tmp(), a.overlay())
		dirs = append(dirs, a.layerIn("")...)
	}
	return dirs
}

// realDirectories is an error if one of the store's directories is not where it seems to be.
func (h home) realDirectories() error {
	for _, dir := range append([]string{h.layers(""), h.diff(""), h.mnt("")}, h.ownDirectories()...) {
		if err := fsutil.RealDirectory(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("aufs: opening the store: %w", err)
		}
	}
	return nil
}

// rightMounts is an error if something is mounted in the store where it has to be one mount.
func (h home) rightMounts() error {
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
		if beside, ok := strings.CutPrefix(rel, filepath.Join(diffDir, besideName)); ok {
			rel = strings.TrimPrefix(beside, "/")
			if rel == "" {
				rel = tmpDir
			}
		}
		switch first, _, below := strings.Cut(rel, "/"); {
		case first == diffDir, first == mntDir:
		case first == tmpDir && below:
			// A process mounts there before it moves the mount to its place, or was killed before that.
		case first == tmpDir, first == layersDir, first == overlayDir, first == keptDir:
			return fmt.Errorf("aufs: opening the store: %s is a mount point, of type %s: of a store its home, %s, can be one as a whole, "+
				"and %s and %s in it; nothing else: %w", m.Mountpoint, m.FSType, string(h), diffDir, mntDir, unix.EXDEV)
		}
	}
	return nil
}

// sync has all of the store on the disk.
func (h home) sync() error {
	dirs := []string{string(h)}
	if beside := h.besideDiff(); beside != h.whole() {
		dirs = append(dirs, h.diff(""))
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
