package main

import (
	"slices"
	"strings"
)

// mergedDirs returns the directories that exist only in /usr. Packages still
// have files in them under their old names.
func mergedDirs() []string { return []string{"bin", "lib", "lib64", "sbin"} }

// merge returns the name that a member of a package has in a system with a
// merged /usr. Names have the form that packages use: "./bin/sh".
func merge(name string) string {
	bare := strings.TrimPrefix(name, "./")
	top, _, _ := strings.Cut(bare, "/")
	if slices.Contains(mergedDirs(), top) {
		return "./usr/" + bare
	}
	return name
}

// skeleton makes what no package has: the symbolic links that replace the
// merged directories, as Debian's usrmerge makes them.
func skeleton(s *stack) {
	for _, dir := range mergedDirs() {
		s.symlink("./"+dir, "usr/"+dir)
	}
}
