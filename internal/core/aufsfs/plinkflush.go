//go:build linux

package aufsfs

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A LinkFlush makes each name of a pseudo-linked file a hard link in the writable branch of the aufs mount at target, as
// auplink(8) of aufs-tools does.
type LinkFlush struct {
	Target, Writable string
	// Entering is called, unless it is nil, before the mount is taken from its users: it is for tests.
	Entering func()
}

// Live flushes a mount that stays. Those who use it go on: aufs keeps its pseudo-links, and the ones that come meanwhile are left
// to the next flush.
func (f LinkFlush) Live() error {
	links, err := f.links()
	if err != nil || len(links) == 0 {
		return err
	}
	_, err = f.flush(links)
	return err
}

// Last flushes a mount that is about to go: nobody else can use it meanwhile, and aufs forgets its pseudo-links.
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
	// Once more: there may have come some before the mount was ours alone, and aufs is about to forget all.
	if links, err = ReadPseudoLinks(f.Writable); err != nil {
		return err
	}
	flushed, err := f.flush(links)
	if err != nil {
		return err
	}
	return m.clean(f.Writable, flushed)
}

// links are the pseudo-links of the mount by their inode numbers in it. A mount without a writable branch has none: what is there was left
// by one of before.
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

// flush flushes links, and returns the names of those whose files have all their names in the branch.
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

// flushName gives the file that the mount shows as path its hard link in the branch, and returns the name of that
// one of links which is the same file there, or "" if none is or path is gone. No name of the file need have been in the
// branch before: the one that was written to may be deleted since.
//
// That the links have the file's inode number in the mount does not tell: some may be left by a mount of before. Then the
// file is copied up for nothing, which costs space, and no content.
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

// directoriesAbove are those that aufs makes something in when it copies the file path up, as the mount shows them: the
// directories that it has to copy up first, and the one that it makes the first of them in, or path itself. The root is left out, as no archive
// has it.
func (f LinkFlush) directoriesAbove(path string) (map[string]*unix.Stat_t, error) {
	above := map[string]*unix.Stat_t{}
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		_, missing := fsutil.StatBeneath(f.Writable, dir)
		// As late as can be: the container may be changing it.
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

// copyUp makes aufs have the file path in its writable branch, by giving it the time of access that it has. A change of owner
// that changes nothing, auplink's way, would take setuid bits and capabilities from it; and the time of modification is another one
// by now if the container has just written to the file.
//
// It is told the time once more in the branch, as aufs cuts what it is told to whole seconds (utimensat(2): aufs sets no
// s_time_gran, of which the kernel's default is a second).
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

// restoreTimes gives directories of the branch their times back, which they lost by what aufs made in them: else they would be as
// new, and changed in the layer, though nothing happened there.
func (f LinkFlush) restoreTimes(had map[string]*unix.Stat_t) error {
	for dir, st := range had {
		if err := fsutil.SetTimesBeneath(f.Writable, dir, []unix.Timespec{st.Atim, st.Mtim}); fsutil.IgnoreGone(err) != nil {
			return err
		}
	}
	return nil
}
