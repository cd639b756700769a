//go:build linux

package whiteout

import (
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// CopyDirMetadata is copyMetadata for directories whose paths no container can change, such as the roots of layers.
func CopyDirMetadata(source string, f Form, target string) error {
	return CopyMetadataBeneath(source, ".", f, target)
}

// CopyMetadataBeneath is copyMetadata from the directory rel of the tree at root to the directory rel of the tree at target.
func CopyMetadataBeneath(root, rel string, f Form, target string) error {
	from, err := fsutil.OpenBelow(root, rel)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := fsutil.OpenBelow(target, rel)
	if err != nil {
		return err
	}
	defer to.Close()
	return copyMetadata(from, f, to)
}

// copyMetadata gives the directory target the owner, mode, times and extended attributes of source. It leaves out the attributes that
// overlayfs has set in form f. Call it last: making entries in target afterwards would change the times, and changing the owner would
// change the mode.
func copyMetadata(source fsutil.Dir, f Form, target fsutil.Dir) error {
	st, err := source.Stat()
	if err != nil {
		return err
	}
	err = EachXattr(source, f, func(name string, value []byte) error {
		return target.Named(fsutil.PathXattrs(target.Reach(".")).Set(name, value, 0))
	})
	if err != nil {
		return err
	}
	if err := unix.Fchown(target.Fd, int(st.Uid), int(st.Gid)); err != nil {
		return target.Failed("lchown", ".", err)
	}
	if err := unix.Fchmod(target.Fd, st.Mode&0o7777); err != nil {
		return target.Failed("chmod", ".", err)
	}
	return target.SetTimes(&st)
}

// DropMetadata removes the extended attributes, such as access control lists, from a directory whose path no container can change. It keeps
// the attributes that overlayfs has set in form f.
func DropMetadata(dir string, f Form) error {
	opened, err := fsutil.OpenReal(dir)
	if err != nil {
		return err
	}
	defer opened.Close()
	return EachXattr(opened, f, func(name string, _ []byte) error {
		err := unix.Lremovexattr(opened.Reach("."), name)
		if strings.HasPrefix(name, "security.") && err != nil {
			// For example, every file has an SELinux label, which copyMetadata replaces.
			return nil //nolint:nilerr // see above
		}
		return opened.Failed("removing the attribute "+name+" from", ".", err)
	})
}

// rawACLs begins the names under which xfs lists access control lists a second time, for whoever may administer the system. These
// attributes come and go with the lists under the usual names (xfs_xattr_put_listent in fs/xfs/xfs_xattr.c of the kernel).
const rawACLs = "trusted.SGI_ACL_"

// isOfFileSystem reports whether an attribute is what a file system has in its own way, so that others may not take it: access control lists of
// NFS (system.nfs4_acl), the compression of btrfs (btrfs.compression) and the like.
func isOfFileSystem(name string) bool {
	return strings.HasPrefix(name, "system.") && !strings.HasPrefix(name, "system.posix_acl_") ||
		strings.HasPrefix(name, "btrfs.") || strings.HasPrefix(name, rawACLs)
}

// EachXattr calls do for each extended attribute of the directory dir. It leaves out those that overlayfs has set in form f, and those that
// belong to one file system.
func EachXattr(dir fsutil.Dir, f Form, do func(name string, value []byte) error) error {
	names, err := fsutil.ListXattrs(dir.Reach("."))
	if err != nil {
		return dir.Named(err)
	}
	for _, name := range names {
		if f != AufsForm && strings.HasPrefix(name, f.XattrPrefix()) || isOfFileSystem(name) {
			continue
		}
		value, err := fsutil.PathXattrs(dir.Reach(".")).Get(name)
		if err != nil {
			return dir.Named(err)
		}
		if err := do(name, value); err != nil {
			return err
		}
	}
	return nil
}
