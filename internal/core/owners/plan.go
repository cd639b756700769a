//go:build linux

package owners

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// PlanOf plans the change for all files of the tree at root.
func PlanOf(root string, maps Maps) (*Plan, error) {
	mounts, err := mountutil.MountsUnder(root)
	if err != nil {
		return nil, err
	}
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, err
	}
	p := planner{root: root, maps: maps, mounted: map[string]bool{}, first: map[[2]uint64]string{}}
	for _, m := range mounts {
		p.mounted[strings.TrimPrefix(m.Mountpoint, resolved+"/")] = true
	}
	p.plan.Maps = maps.lists()
	top, err := fsutil.OpenDir(root, ".")
	if err != nil {
		return nil, err
	}
	defer top.Close()
	if _, err := p.file(top, "."); err != nil {
		return nil, err
	}
	return &p.plan, p.directory(".")
}

// planner is the state of PlanOf.
type planner struct {
	root string
	maps Maps
	// mounted are the paths of mount points. Files that are mounted there are not the layer's.
	mounted map[string]bool
	// first has the first name of each file that has several names, by device and inode.
	first map[[2]uint64]string
	plan  Plan
}

// directory adds the content of the directory rel to the plan.
func (p *planner) directory(rel string) error {
	below, err := p.files(rel)
	if err != nil {
		return err
	}
	for _, path := range below {
		if err := p.directory(path); err != nil {
			return err
		}
	}
	return nil
}

// files adds the files in the directory rel to the plan, and returns the directories among them.
func (p *planner) files(rel string) (below []string, err error) {
	dir, err := fsutil.OpenDir(p.root, rel)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(rel, name)
		if p.mounted[path] || rel == "." && whiteout.IsOwnFile(name) {
			continue
		}
		isDir, err := p.file(dir, path)
		if err != nil {
			return nil, err
		}
		if isDir {
			below = append(below, path)
		}
	}
	return below, nil
}

// file adds the file path, which is in the open directory dir, to the plan.
func (p *planner) file(dir *os.File, path string) (isDir bool, err error) {
	st, err := fsutil.StatIn(dir, filepath.Base(path))
	if err != nil {
		return false, err
	}
	f := File{
		Path: path, Mode: st.Mode, Inode: st.Ino, Old: idmap.Pair{UID: int(st.Uid), GID: int(st.Gid)}, Atime: st.Atim, Mtime: st.Mtim,
	}
	id := [2]uint64{st.Dev, st.Ino}
	if f.LinkOf = p.first[id]; f.LinkOf == "" {
		if f.New, err = p.maps.Owner(f.Old); err == nil {
			err = p.attributes(&f, fsutil.PathXattrs(fsutil.Within(dir, filepath.Base(path))))
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", filepath.Join(p.root, path), err)
		}
		if !f.isDir() && st.Nlink > 1 {
			p.first[id] = path
		}
	}
	if f.isDir() || f.LinkOf != "" || f.Old != f.New || len(f.Attrs) > 0 {
		p.plan.Files = append(p.plan.Files, f)
	}
	return f.isDir(), nil
}

// attributes adds to f the attributes that must be set when its owner is changed: a capability, which the change
// removes, and access control lists whose owners change.
func (p *planner) attributes(f *File, xattrs fsutil.PathXattrs) error {
	names, err := xattrs.List()
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	for _, name := range names {
		if !layertar.IsACL(name) && (name != "security.capability" || f.Old == f.New) {
			continue
		}
		value, err := xattrs.Get(name)
		if errors.Is(err, unix.EOVERFLOW) {
			// The capability belongs to another user namespace, and nobody here can have it.
			continue
		}
		if err != nil {
			return err
		}
		if layertar.IsACL(name) {
			mapped, left, err := p.maps.ACL(value)
			if err != nil {
				return err
			}
			if left > 0 {
				logrus.Warnf("aufs: leaving out %d owners in %s of %s, to whom the id maps give no ids", left, name, f.Path)
			}
			if bytes.Equal(mapped, value) {
				continue
			}
			value = mapped
		}
		if f.Attrs == nil {
			f.Attrs = map[string][]byte{}
		}
		f.Attrs[name] = value
	}
	return nil
}
