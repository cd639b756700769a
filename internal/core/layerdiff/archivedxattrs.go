//go:build linux

package layerdiff

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// xattrsBeneath returns the archivedXattrs of the file rel in the tree at root.
func xattrsBeneath(root, rel string) (map[string]string, error) {
	dir, err := fsutil.OpenDir(root, filepath.Dir(rel))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return archivedXattrs(fsutil.PathXattrs(fsutil.Within(dir, filepath.Base(rel))))
}

// archivedXattrs returns those extended attributes of a file that archives carry. As in the library's archives, these
// are user attributes, except overlayfs's own, and two security attributes. Access control lists are added, which the
// library's archives lack.
func archivedXattrs(xattrs fsutil.XattrReader) (map[string]string, error) {
	names, err := xattrs.List()
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return nil, err
	}
	var attrs map[string]string
	for _, name := range names {
		user := strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, whiteout.OverlayUser.XattrPrefix())
		if !user && !layertar.IsACL(name) && name != "security.capability" && name != "security.ima" {
			continue
		}
		value, err := xattrs.Get(name)
		if err != nil {
			return nil, err
		}
		if value == nil {
			// The attribute is gone by now.
			continue
		}
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs[name] = string(value)
	}
	return attrs, nil
}
