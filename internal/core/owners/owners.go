//go:build linux

package owners

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// UpdateLayerIDMap first writes a plan of the whole change to overlay/owners/<id>. If the change is cut short,
// the plan finishes it: once the change has begun, the disk does not tell whether a file has its old or its new owner,
// nor what times a directory had. When the change is done, the file is made empty. An empty file says that the layer may
// have files that differ from those of its parent only in their owners.

// Plan is what overlay/owners/<id> has in it during a change.
type Plan struct {
	// Maps are the user ids and group ids of toContainer, and then those of toHost.
	Maps [4][]idmap.Map
	// Files are in the order in which they are changed: a directory comes before what is in it.
	Files []File
}

// File is a file as it is before the change, and what becomes of it.
type File struct {
	Path string
	Mode uint32
	// LinkOf is the path of an earlier file in the plan, if this file is only another name of that one. Inode is the
	// inode number, which tells such a name from a later file.
	Inode    uint64
	LinkOf   string
	Old, New idmap.Pair
	// Attrs are the attributes to set when the owner is changed: those that the change of owner removes, and access
	// control lists whose owners change.
	Attrs        map[string][]byte
	Atime, Mtime unix.Timespec
}

func (f File) isDir() bool { return f.Mode&unix.S_IFMT == unix.S_IFDIR }

// Write writes overlay/owners/<id> for the layer id, durably. If plan is nil, the file is empty.
func Write(h store.Home, id string, plan *Plan) error {
	var content bytes.Buffer
	if plan != nil {
		if err := gob.NewEncoder(&content).Encode(plan); err != nil {
			return err
		}
	}
	return h.WriteRecord(store.OwnersDir, id, content.Bytes())
}

// Unfinished returns the plan of a change of the layer id that was cut short, or nil if there is none.
func Unfinished(h store.Home, id string) (*Plan, error) {
	path := h.Overlay(store.OwnersDir, id)
	content, err := fsutil.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(content) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	var plan Plan
	if err := gob.NewDecoder(bytes.NewReader(content)).Decode(&plan); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", store.ErrDamaged, path, err)
	}
	return &plan, nil
}

// Changed returns the time when the owners of the layer id were changed. It returns nil if they never were, or if the
// change is not finished.
func Changed(h store.Home, id string) (*syscall.Timespec, error) {
	info, err := os.Lstat(h.Overlay(store.OwnersDir, id))
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() > 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	return &fsutil.StatOf(info).Mtim, nil
}

// PassTime waits until the next change in the layer id will get a later time than the change of its owners has: see
// Comparison.onlyOwners in internal/core/layerdiff/ownerchanges.go. The clock of the layer's file system may tick more
// slowly than the system's.
func PassTime(h store.Home, id string) error {
	owners, err := Changed(h, id)
	if err != nil || owners == nil {
		return err
	}
	s, err := h.NewScratch("clock")
	if err != nil {
		return err
	}
	err = store.ChangeTime(s.Dir, func(now unix.Timespec) bool { return now.Nano() > owners.Nano() })
	return errors.Join(err, s.Discard())
}

// Maps say who becomes the owner of a file.
type Maps struct{ ToContainer, ToHost *idmap.Mappings }

// lists returns the maps in the form of Plan.Maps.
func (m Maps) lists() [4][]idmap.Map {
	return [4][]idmap.Map{m.ToContainer.UIDs, m.ToContainer.GIDs, m.ToHost.UIDs, m.ToHost.GIDs}
}

// IsOf reports whether the plan was made with these maps.
func (p *Plan) IsOf(m Maps) bool {
	lists := m.lists()
	return slices.EqualFunc(p.Maps[:], lists[:], slices.Equal[[]idmap.Map])
}

// Owner maps an owner by the library's rules (drivers/chown_unix.go).
func (m Maps) Owner(old idmap.Pair) (idmap.Pair, error) {
	inside, err := m.ToContainer.ToContainer(old)
	switch {
	case err != nil && old == (idmap.Pair{}):
		// As the library does, take the host's root for the container's root: a layer below should have had a mapped
		// owner here, and did not.
		inside = idmap.Pair{}
	case err != nil:
		return old, fmt.Errorf("mapping the owner %d:%d to the container: %w", old.UID, old.GID, err)
	}
	return m.ToHost.ToHostOverflow(inside), nil
}

// ACL maps the owners in an access control list. left is how many entries it leaves out.
func (m Maps) ACL(list []byte) (mapped []byte, left int, err error) {
	through := func(toContainer, toHost []idmap.Map) func(int) (int, error) {
		return func(id int) (int, error) {
			id, err := idmap.ToContainer(id, toContainer)
			if err != nil {
				return id, err
			}
			return idmap.ToHost(id, toHost)
		}
	}
	lists := m.lists()
	return layertar.MapACL(list, through(lists[0], lists[2]), through(lists[1], lists[3]))
}

// Change changes the owners in the layer id, which is mounted at root, and finishes an earlier change first. branch is as for Apply.
func Change(h store.Home, id string, maps Maps, root, branch string) error {
	plan, err := Unfinished(h, id)
	if err != nil {
		return err
	}
	if plan != nil {
		if err := plan.Apply(root, branch); err != nil || plan.IsOf(maps) {
			return err
		}
	}
	if plan, err = PlanOf(root, maps); err != nil {
		return err
	}
	if err := Write(h, id, plan); err != nil {
		return err
	}
	return plan.Apply(root, branch)
}

// Apply does what the plan says to the tree at root. It restores the times of directories in the tree at branch,
// because a mount of aufs cuts the times that it is given to whole seconds.
func (p *Plan) Apply(root, branch string) error {
	for rest := p.Files; len(rest) > 0; {
		// The files of one directory come together.
		parent := filepath.Dir(rest[0].Path)
		n := 1
		for n < len(rest) && filepath.Dir(rest[n].Path) == parent && rest[n-1].Path != "." {
			n++
		}
		if err := ApplyIn(root, parent, rest[:n]); fsutil.IgnoreGone(err) != nil {
			return err
		}
		rest = rest[n:]
	}
	if err := dropOwnersLink(branch); err != nil {
		return err
	}
	for _, f := range slices.Backward(p.Files) {
		if !f.isDir() {
			continue
		}
		if err := f.restoreTimes(branch); fsutil.IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}

// ApplyIn changes the planned files, which are in the directory rel.
func ApplyIn(root, rel string, planned []File) error {
	dir, err := fsutil.OpenDir(root, rel)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, f := range planned {
		if f.LinkOf != "" {
			err = f.link(root, dir)
		} else {
			err = f.change(dir)
		}
		if fsutil.IgnoreGone(err) != nil {
			return fmt.Errorf("%s: %w", filepath.Join(root, f.Path), err)
		}
	}
	return nil
}

// change changes the owner of a file in an open directory. If the name is another file by now, change leaves that file
// as it is.
func (f File) change(dir *os.File) error {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := fsutil.Retried(func() (int, error) { return unix.Openat(int(dir.Fd()), filepath.Base(f.Path), flags, 0) })
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	now := idmap.Pair{UID: int(st.Uid), GID: int(st.Gid)}
	if st.Mode&unix.S_IFMT != f.Mode&unix.S_IFMT || now != f.Old && now != f.New {
		return nil
	}
	if f.Old != f.New {
		if err := unix.Fchownat(fd, "", f.New.UID, f.New.GID, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("changing the owner to %d:%d: %w", f.New.UID, f.New.GID, err)
		}
	}
	// This path leads to the open file, whatever kind of file it is.
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	if f.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 && f.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(path, f.Mode&0o7777); err != nil {
			return fmt.Errorf("setting the mode: %w", err)
		}
	}
	for name, value := range f.Attrs {
		if err := unix.Setxattr(path, name, value, 0); err != nil {
			return fmt.Errorf("setting the attribute %s: %w", name, err)
		}
	}
	return nil
}

// LinkName is the temporary name of a new link, at the root of a layer. No content of a layer has this name.
const LinkName = ".wh..wh.owners"

// link makes another name of a file a hard link to that file again. On overlayfs, a change of a file changes it under
// one name only: the other names still refer to the file as ancestors have it.
func (f File) link(root string, dir *os.File) error {
	first, err := fsutil.StatBeneath(root, f.LinkOf)
	if err != nil {
		return err
	}
	now, err := fsutil.StatIn(dir, filepath.Base(f.Path))
	if err != nil || now.Ino == first.Ino && now.Dev == first.Dev {
		return err
	}
	if now.Ino != f.Inode {
		// The name is another file by now.
		return nil
	}
	firstDir, err := fsutil.OpenDir(root, filepath.Dir(f.LinkOf))
	if err != nil {
		return err
	}
	defer firstDir.Close()
	top, err := fsutil.OpenDir(root, ".")
	if err != nil {
		return err
	}
	defer top.Close()
	if err := dropOwnersLink(root); err != nil {
		return err
	}
	err = unix.Linkat(int(firstDir.Fd()), filepath.Base(f.LinkOf), int(top.Fd()), LinkName, 0)
	if err == nil {
		// A rename replaces the name in one step: the name is never missing.
		err = unix.Renameat(int(top.Fd()), LinkName, int(dir.Fd()), filepath.Base(f.Path))
	}
	if err != nil {
		return fmt.Errorf("linking the file to %s: %w", f.LinkOf, err)
	}
	return nil
}

// dropOwnersLink removes the link that a change that was cut short may have left at the root of a tree.
func dropOwnersLink(root string) error {
	dir, err := fsutil.OpenDir(root, ".")
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Unlinkat(int(dir.Fd()), LinkName, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "unlink", Path: filepath.Join(root, LinkName), Err: err}
	}
	return nil
}

// restoreTimes gives a directory the times back that it had before the change.
func (f File) restoreTimes(branch string) error {
	st, err := fsutil.StatBeneath(branch, f.Path)
	if err != nil || st.Mtim == f.Mtime || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	return fsutil.SetTimesBeneath(branch, f.Path, []unix.Timespec{f.Atime, f.Mtime})
}
