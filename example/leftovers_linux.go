package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// mountsUnder returns the mount points at dir and below it.
func mountsUnder(dir string) ([]string, error) {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil, err
	}
	points := make([]string, 0, len(infos))
	for _, info := range infos {
		points = append(points, info.Mountpoint)
	}
	return points, nil
}

// leftovers returns what an empty store still has in its driver's home. Files
// directly in the home or in its overlay/, such as locks, may stay. Empty
// directories may stay too, unless they would be a layer.
func leftovers(home string) ([]string, error) {
	var left []string
	err := filepath.WalkDir(home, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(home, name)
		if err != nil {
			return err
		}
		top, below, nested := strings.Cut(rel, string(filepath.Separator))
		layerDir := nested && !strings.ContainsRune(below, filepath.Separator) && holdsLayers(top)
		if nested && (layerDir || !d.IsDir() && filepath.Dir(rel) != "overlay") {
			left = append(left, name)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return left, err
}

// holdsLayers reports whether each entry of a directory in a driver's home is a
// layer or a part of one. That applies to aufs's three directories and its
// scratch space, and to the directories of overlay and vfs.
func holdsLayers(dir string) bool {
	return slices.Contains([]string{"layers", "diff", "mnt", "tmp", "l", "dir"}, dir)
}

// removeTree removes a directory tree. It refuses if something is mounted in the
// tree, because it would delete the content of the mount.
func removeTree(dir string) error {
	points, err := mountsUnder(dir)
	if err != nil {
		return err
	}
	if len(points) > 0 {
		return fmt.Errorf("%s is left in place, for these are still mounted: %s", dir, strings.Join(points, ", "))
	}
	return os.RemoveAll(dir)
}
