package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containers/storage/pkg/archive"
)

// branchesOf reads the stack of a layer from the driver's metadata about the
// layer. It returns nothing for a driver without branches, like "vfs".
func branchesOf(metadata map[string]string) ([]branch, error) {
	if metadata["UpperDir"] == "" {
		return nil, nil
	}
	dirs := []string{metadata["UpperDir"]}
	if lower := metadata["LowerDir"]; lower != "" {
		dirs = append(dirs, strings.Split(lower, ":")...)
	}
	branches := make([]branch, 0, len(dirs))
	for i, dir := range dirs {
		br, err := countBranch(dir)
		if err != nil {
			return nil, err
		}
		br.Access = "ro"
		if i == 0 {
			br.Access = "rw"
		}
		branches = append(branches, br)
	}
	return branches, nil
}

// countBranch counts the files in one branch, without aufs's own files.
func countBranch(dir string) (branch, error) {
	br := branch{Path: dir}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == dir:
		case isOwnFile(dir, name):
			if d.IsDir() {
				return fs.SkipDir
			}
		case isWhiteout(d):
			br.Whiteouts++
		case d.IsDir():
			br.Dirs++
		default:
			br.Files++
		}
		return nil
	})
	return br, err
}

// isOwnFile reports whether name is one of the files that aufs keeps at the root
// of a writable branch.
func isOwnFile(root, name string) bool {
	return filepath.Dir(name) == root && strings.HasPrefix(filepath.Base(name), archive.WhiteoutMetaPrefix) &&
		filepath.Base(name) != archive.WhiteoutOpaqueDir
}

// isWhiteout reports whether d is a whiteout: of aufs, by its name, or of
// overlayfs, a character device 0/0.
func isWhiteout(d fs.DirEntry) bool {
	if strings.HasPrefix(d.Name(), archive.WhiteoutPrefix) {
		return true
	}
	if d.Type()&os.ModeCharDevice == 0 {
		return false
	}
	fi, err := d.Info()
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Rdev == 0
}
