//go:build linux

package bench

import (
	"os"
	"path/filepath"
	"strings"
)

// within reports whether a path is below a directory.
func within(dir, path string) bool { return strings.HasPrefix(path, dir+"/") }

// exists reports whether a directory has a file of the given name.
func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}
