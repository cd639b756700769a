//go:build linux

package aufs

import (
	"strings"

	"golang.org/x/sys/unix"
)

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
	err = eachXattr(source, f, func(name string, value []byte) error {
		return target.named(pathXattrs(target.reach(".")).set(name, value, 0))
	})
	if err != nil {
		return err
	}
	if err := unix.Fchown(target.fd, int(st.Uid), int(st.Gid)); err != nil {
		return target.failed("lchown", ".", err)
	}
	if err := unix.Fchmod(target.fd, st.Mode&0o7777); err != nil {
		return target.failed("chmod", ".", err)
	}
	return target.setTimes(&st)
}

// dropMetadata takes the extended attributes from a directory whose path no container can change, but for those that overlayfs has set there in
// form f. Access control lists are some of them.
func dropMetadata(dir string, f form) error {
	opened, err := openReal(dir)
	if err != nil {
		return err
	}
	defer opened.close()
	return eachXattr(opened, f, func(name string, _ []byte) error {
		err := unix.Lremovexattr(opened.reach("."), name)
		if strings.HasPrefix(name, "security.") && err != nil {
			// Such as the label of SELinux, which each file has, and copyMetadata replaces.
			return nil
		}
		return opened.failed("removing the attribute "+name+" from", ".", err)
	})
}

// eachXattr calls do for each extended attribute of the directory dir, but for those that overlayfs has set there in form f.
func eachXattr(dir openedDir, f form, do func(name string, value []byte) error) error {
	names, err := listXattrs(dir.reach("."))
	if err != nil {
		return dir.named(err)
	}
	for _, name := range names {
		if f != aufsForm && strings.HasPrefix(name, f.xattrPrefix()) {
			continue
		}
		value, err := pathXattrs(dir.reach(".")).get(name)
		if err != nil {
			return dir.named(err)
		}
		if err := do(name, value); err != nil {
			return err
		}
	}
	return nil
}
