//go:build linux

package bench

import (
	"os"
	"path/filepath"
	"strings"
)

// within tells if a path is below a directory.
func within(dir, path string) bool { return strings.HasPrefix(path, dir+"/") }

// exists tells if there is a file in a directory.
func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}
