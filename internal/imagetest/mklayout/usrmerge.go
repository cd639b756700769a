package main

import (
	"slices"
	"strings"
)

// mergedDirs are the directories that are in /usr alone: packages have files in
// them by their old names still.
func mergedDirs() []string { return []string{"bin", "lib", "lib64", "sbin"} }

// merge is the name that a member of a package has in a system with a merged
// /usr. Names are as packages have them: "./bin/sh".
func merge(name string) string {
	bare := strings.TrimPrefix(name, "./")
	top, _, _ := strings.Cut(bare, "/")
	if slices.Contains(mergedDirs(), top) {
		return "./usr/" + bare
	}
	return name
}

// skeleton makes what no package has: the symbolic links in the place of the
// merged directories, as Debian's usrmerge makes them.
func skeleton(s *stack) {
	for _, dir := range mergedDirs() {
		s.symlink("./"+dir, "usr/"+dir)
	}
}
