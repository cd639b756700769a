//go:build linux

package whiteout

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// StripXattrs removes the attributes that overlayfs has set for itself on the file name in dir, in any of forms. It keeps the attributes of
// an overlayfs mounted inside of the layer: they are the layer's content. The outer overlayfs stores those under names that have
// "overlay." twice, such as trusted.overlay.overlay.opaque.
func StripXattrs(dir fsutil.Dir, name string, forms ...Form) error {
	names, err := fsutil.ListXattrs(dir.Reach(name))
	if err != nil {
		return dir.Named(err)
	}
	return stripListed(dir, name, names, forms...)
}

// StripTree removes the attributes that overlayfs has set for itself, in either form, from the directory root and from all that is in it. It does
// not enter aufs's own directories.
func StripTree(root string) error {
	return EachDir(root, func(dir fsutil.Dir, _ bool, entries []fs.DirEntry) (bool, error) {
		errs := []error{StripXattrs(dir, ".", OverlayTrusted, OverlayUser)}
		for _, entry := range entries {
			if !entry.IsDir() {
				errs = append(errs, fsutil.IgnoreGone(StripXattrs(dir, entry.Name(), OverlayTrusted, OverlayUser)))
			}
		}
		return false, errors.Join(errs...)
	})
}

// stripListed is StripXattrs for a file that has the attributes attrs.
func stripListed(dir fsutil.Dir, name string, attrs []string, forms ...Form) error {
	for _, attr := range attrs {
		if !slices.ContainsFunc(forms, func(f Form) bool { return f.OwnXattr(attr) }) {
			continue
		}
		if err := unix.Lremovexattr(dir.Reach(name), attr); err != nil {
			return dir.Failed("removing the attribute "+attr+" from", name, err)
		}
	}
	return nil
}

// OwnXattr reports whether overlayfs sets the attribute name for itself, in form f.
func (f Form) OwnXattr(name string) bool {
	own, ok := strings.CutPrefix(name, f.XattrPrefix())
	return ok && !strings.HasPrefix(own, "overlay.")
}
