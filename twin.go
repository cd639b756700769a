//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// An overlay twin is a directory that shows overlayfs what a layer's directory shows aufs: directories of its own, with
// the layer's files as hard links, and whiteouts and opaque directories in overlay form. A layer without whiteouts needs
// none.

// twinKnown returns the lower directory for the layer id, which is at rest, in form f, if the cache has the answer.
func (h home) twinKnown(id string, f form) (string, bool) {
	if wasWritable(h.diff(id)) {
		return "", false
	}
	stamp, err := rootStamp(h.diff(id))
	if err != nil {
		return "", false
	}
	twin, ok := h.twins().known(id, string(f)+" "+stamp)
	if twin == "" {
		twin = h.diff(id)
	}
	return twin, ok
}

// twinFind finds out if the layer id, which is at rest, needs a twin in form f, makes it, and returns the lower
// directory. generation is what use has returned. The caller holds the lock of id.
func (h home) twinFind(id string, f form, generation string) (string, error) {
	// The stamp is that of before the layer is read: what changes in between shows.
	stamp, err := rootStamp(h.diff(id))
	if err != nil {
		return "", err
	}
	twin, err := h.twins().find(id, string(f)+" "+stamp, recipe{
		needed: func() (bool, error) {
			marks, err := findMarks(h.diff(id), aufsForm)
			return marks != nil, err
		},
		make:       func(root string) error { return makeTwin(h.diff(id), aufsForm, root, f) },
		generation: generation,
	})
	if twin == "" {
		twin = h.diff(id)
	}
	return twin, err
}

// makeTwin makes target a twin, in form to, of the layer at root, which is in form from.
func makeTwin(root string, from form, target string, to form) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	return twinDirectory(root, ".", from, target, to)
}

// twinDirectory makes the twin of the one directory rel, and of those below it.
func twinDirectory(root, rel string, from form, target string, to form) error {
	l, err := readListing(root, rel, from)
	if err != nil {
		return err
	}
	if err := mkdirBeneath(target, rel); err != nil {
		return err
	}
	if err := twinFiles(root, rel, l, target, to); err != nil {
		return err
	}
	for name, entry := range l.entries {
		// A file beside its own whiteout is hidden, with aufs.
		if !entry.IsDir() || l.whiteouts[name] {
			continue
		}
		if err := twinDirectory(root, filepath.Join(rel, name), from, target, to); err != nil {
			return err
		}
	}
	return copyMetadataBeneath(root, rel, from, target)
}

// twinFiles makes all that is in the twin of the directory rel, of which l is the listing, but for directories.
func twinFiles(root, rel string, l listing, target string, to form) error {
	dir, err := openBelow(target, rel)
	if err != nil {
		return err
	}
	defer dir.close()
	w := whiteoutMaker{dir: dir, anew: makeOverlayWhiteout}
	for name := range l.whiteouts {
		if err := w.make(name); err != nil {
			return err
		}
	}
	if len(l.whiteouts) > 0 {
		if err := markWhiteouts(dir, to); err != nil {
			return err
		}
	}
	if l.opaque {
		if err := markOpaque(dir, to); err != nil {
			return err
		}
	}
	source, err := openBelow(root, rel)
	if err != nil {
		return err
	}
	defer source.close()
	for name, entry := range l.entries {
		if entry.IsDir() || l.whiteouts[name] {
			continue
		}
		if err := refuseDevice(source, entry); err != nil {
			return err
		}
		if err := source.link(name, dir, name); err != nil {
			return err
		}
	}
	return nil
}

// copyDirMetadata is copyMetadata for directories whose paths no container can change, as those of the roots of layers.
func copyDirMetadata(source string, f form, target string) error {
	return copyMetadataBeneath(source, ".", f, target)
}

// copyMetadataBeneath is copyMetadata for the directory rel of the tree at root, and that of the tree at target.
func copyMetadataBeneath(root, rel string, f form, target string) error {
	from, err := openBelow(root, rel)
	if err != nil {
		return err
	}
	defer from.close()
	to, err := openBelow(target, rel)
	if err != nil {
		return err
	}
	defer to.close()
	return copyMetadata(from, f, to)
}

// copyMetadata gives the directory target the owner, mode, times and extended attributes of source, but for those that
// overlayfs has set there in form f. It comes last: making entries changes the times, and a change of owner the mode.
func copyMetadata(source openedDir, f form, target openedDir) error {
	st, err := source.stat()
	if err != nil {
		return err
	}
	names, err := listXattrs(source.reach("."))
	if err != nil {
		return source.named(err)
	}
	for _, name := range names {
		if f != aufsForm && strings.HasPrefix(name, f.xattrPrefix()) {
			continue
		}
		value, err := system.Lgetxattr(source.reach("."), name)
		if err != nil {
			return source.named(err)
		}
		if err := system.Lsetxattr(target.reach("."), name, value, 0); err != nil {
			return target.named(err)
		}
	}
	if err := unix.Fchown(target.fd, int(st.Uid), int(st.Gid)); err != nil {
		return target.failed("lchown", ".", err)
	}
	if err := unix.Fchmod(target.fd, st.Mode&0o7777); err != nil {
		return target.failed("chmod", ".", err)
	}
	return target.setTimes(&st)
}
