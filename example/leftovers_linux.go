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
// right in the home, or in its overlay/, may stay, such as locks, and so may empty
// directories, except for those that would be a layer.
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

// holdsLayers knows the directories of a driver's home in which each entry is a
// layer or a part of one: aufs's three and its scratch space, overlay's, vfs's.
func holdsLayers(dir string) bool {
	return slices.Contains([]string{"layers", "diff", "mnt", "tmp", "l", "dir"}, dir)
}

// removeTree removes a directory tree, unless something is mounted in it: then it
// would delete what is in the mount.
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
