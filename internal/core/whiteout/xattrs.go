//go:build linux

package whiteout

import (
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// StripXattrs removes the attributes that overlayfs has set on the file name in dir for itself, in any of forms. Those of an overlayfs mounted inside of the
// layer, which the outer one writes with its own prefix twice, are the layer's content.
func StripXattrs(dir fsutil.Dir, name string, forms ...Form) error {
	names, err := fsutil.ListXattrs(dir.Reach(name))
	if err != nil {
		return dir.Named(err)
	}
	return stripListed(dir, name, names, forms...)
}

// stripListed is StripXattrs of a file that has these attributes.
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

// OwnXattr tells if overlayfs sets the attribute for itself, in form f.
func (f Form) OwnXattr(name string) bool {
	own, ok := strings.CutPrefix(name, f.XattrPrefix())
	return ok && !strings.HasPrefix(own, "overlay.")
}
