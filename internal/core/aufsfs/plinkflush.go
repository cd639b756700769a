//go:build linux

package aufsfs

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A LinkFlush makes each name of a pseudo-linked file a hard link in the writable branch of the aufs mount at Target, as auplink(8) of
// aufs-tools does.
type LinkFlush struct {
	Target, Writable string
	// Entering, unless it is nil, is called before the mount is taken from its users. It is for tests.
	Entering func()
}

// Live flushes a mount that stays. Others can use the mount meanwhile: aufs keeps its pseudo-links, and the next flush takes those that are
// made in this time.
func (f LinkFlush) Live() error {
	links, err := f.links()
	if err != nil || len(links) == 0 {
		return err
	}
	_, err = f.flush(links)
	return err
}

// Last flushes a mount that is about to be unmounted. Nobody else can use the mount meanwhile, and aufs forgets its pseudo-links.
func (f LinkFlush) Last() (err error) {
	links, err := f.links()
	if err != nil || len(links) == 0 {
		return err
	}
	if f.Entering != nil {
		f.Entering()
	}
	m, err := enterMaintenance(f.Target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.leave()) }()
	// Read the pseudo-links again: some may have been made before the mount was ours alone, and aufs is about to forget all of them.
	if links, err = ReadPseudoLinks(f.Writable); err != nil {
		return err
	}
	flushed, err := f.flush(links)
	if err != nil {
		return err
	}
	return m.clean(f.Writable, flushed)
}

// links returns the pseudo-links of the mount, by their inode numbers in the mount. A mount without a writable branch has none: if the layer's
// directory has any, an earlier mount has left them.
func (f LinkFlush) links() (map[uint64][]PseudoLink, error) {
	links, err := ReadPseudoLinks(f.Writable)
	if err != nil || len(links) == 0 {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(f.Target, &st); err != nil {
		return nil, &fs.PathError{Op: "statfs", Path: f.Target, Err: err}
	}
	if st.Flags&unix.ST_RDONLY == 0 {
		return links, nil
	}
	if writable, err := writableBranches(f.Target); err != nil || len(writable) == 0 {
		return nil, err
	}
	return links, nil
}

// flush flushes links. It returns the names of the links whose files now have all their names in the branch.
func (f LinkFlush) flush(links map[uint64][]PseudoLink) (flushed map[string]bool, err error) {
	names, err := namesOf(f.Target, links)
	if err != nil {
		return nil, err
	}
	flushed = map[string]bool{}
	for ino, paths := range names {
		for _, path := range paths {
			entry, err := f.flushName(path, links[ino])
			if err != nil {
				return nil, err
			}
			flushed[entry] = true
		}
	}
	delete(flushed, "")
	return flushed, nil
}

// flushName makes path a hard link in the branch to the file that the mount shows as path. It returns the name of the pseudo-link, among
// links, to the same file, or "" if there is none, or if path is gone. The file need not have had a name in the branch before: somebody may
// have deleted the name that was written to.
//
// The inode number in the mount does not prove that links are about this file: an earlier mount may have left some of them. In that case
// the file is copied up for nothing, which costs space, but no content.
func (f LinkFlush) flushName(path string, links []PseudoLink) (string, error) {
	linkOf := func(st *unix.Stat_t) string {
		for _, link := range links {
			if st.Ino == link.BranchInode {
				return link.Name
			}
		}
		return ""
	}
	st, err := fsutil.StatBeneath(f.Writable, path)
	if err == nil {
		return linkOf(st), nil
	}
	if fsutil.IgnoreGone(err) != nil {
		return "", err
	}
	above, err := f.directoriesAbove(path)
	if err == nil {
		err = f.copyUp(path)
	}
	if err == nil {
		st, err = fsutil.StatBeneath(f.Writable, path)
	}
	if err != nil {
		return "", fsutil.IgnoreGone(err)
	}
	entry := linkOf(st)
	if entry != "" {
		// Aufs keeps the times of a directory that it makes a link in.
		delete(above, filepath.Dir(path))
	}
	return entry, f.restoreTimes(above)
}

// directoriesAbove describes, as the mount shows them, the directories in which aufs makes something when it copies up the file path. These
// are the directories that aufs has to copy up first, and the nearest one that the branch already has. The root is left out, since no
// archive has it.
func (f LinkFlush) directoriesAbove(path string) (map[string]*unix.Stat_t, error) {
	above := map[string]*unix.Stat_t{}
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		_, missing := fsutil.StatBeneath(f.Writable, dir)
		// This comes as late as possible, because the container may be changing the directory.
		st, err := fsutil.StatBeneath(f.Target, dir)
		if err != nil {
			return nil, err
		}
		above[dir] = st
		if missing == nil {
			break
		}
	}
	return above, nil
}

// copyUp makes aufs copy the file path up to its writable branch, by setting the time of access that the file already has. Setting the
// owner that the file already has, as auplink(8) does, would take setuid bits and capabilities from the file. Setting the time of
// modification would undo a change if the container has just written to the file.
//
// copyUp sets the time again in the branch, because aufs cuts it to whole seconds (utimensat(2): aufs sets no s_time_gran, and the kernel's
// default is a second).
func (f LinkFlush) copyUp(path string) error {
	st, err := fsutil.StatBeneath(f.Target, path)
	if err != nil {
		return err
	}
	times := []unix.Timespec{st.Atim, {Nsec: unix.UTIME_OMIT}}
	if err := fsutil.SetTimesBeneath(f.Target, path, times); err != nil {
		return err
	}
	return fsutil.SetTimesBeneath(f.Writable, path, times)
}

// restoreTimes restores the times of directories in the branch, which aufs changed by making something in them. Otherwise these directories
// would count as changed in the layer, though nobody has changed them.
func (f LinkFlush) restoreTimes(had map[string]*unix.Stat_t) error {
	for dir, st := range had {
		if err := fsutil.SetTimesBeneath(f.Writable, dir, []unix.Timespec{st.Atim, st.Mtim}); fsutil.IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}
