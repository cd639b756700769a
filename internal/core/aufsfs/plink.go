//go:build linux

package aufsfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// If a lower file with several names is written to through one of them, aufs copies the file up under that name only. The other names
// become pseudo-links: in a file of the writable branch's .wh..wh.plnk, aufs remembers that they are the same file. The branch alone does
// not show them. Without a flush, an archive of the layer, or a mount of a child, would have the old content under the other names. A flush
// gives each name its hard link in the branch.

// aufsMagic is the type of file system that statfs(2) returns for an aufs mount: "aufs".
const aufsMagic = 0x61756673

// Unmount flushes the pseudo-links of the aufs mount at target, and unmounts it. Unmount retries EBUSY for about 1.3 seconds; after
// that, the error names what uses the mount, as far as /proc shows it. A target that is not mounted, or does not exist, is no error.
//
// If the flush fails the mount stays: without the flush, some names would have their old content again.
func Unmount(target string) error {
	mounted, err := mountutil.IsMounted(target)
	if err == nil && !mounted {
		return nil
	}
	var branches []string
	if err == nil {
		branches, err = writableBranches(target)
	}
	for _, branch := range branches {
		if err == nil {
			err = LinkFlush{Target: target, Writable: branch}.Last()
		}
	}
	if err != nil {
		return fmt.Errorf("aufs: flushing the pseudo-links of %s, which stays mounted: %w", target, err)
	}
	if err := mountutil.UnmountRetry(target); err != nil {
		return fmt.Errorf("aufs: %w", err)
	}
	return nil
}

// IsAufs reports whether target is on aufs.
func IsAufs(target string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: target, Err: err}
	}
	return uint32(st.Type) == aufsMagic, nil
}

// writableBranches returns the paths of the writable branches of the aufs mount at target. There are none if target is not on aufs.
func writableBranches(target string) ([]string, error) {
	aufs, err := IsAufs(target)
	if err != nil || !aufs {
		return nil, fsutil.IgnoreGone(err)
	}
	branches, err := sysfsBranches(target)
	if err != nil {
		return nil, err
	}
	var writable []string
	for _, b := range branches {
		if path, ok := strings.CutSuffix(b, "=rw"); ok {
			writable = append(writable, path)
		}
	}
	return writable, nil
}

// A PseudoLink is an entry of .wh..wh.plnk: a hard link to a file of the branch. Its name is
//
//	<inode number in the mount>.<inode number in the branch>
type PseudoLink struct {
	Name string
	// BranchInode is the inode number in the branch.
	BranchInode uint64
}

// ReadPseudoLinks returns the pseudo-links of a branch by their inode numbers in the mount.
func ReadPseudoLinks(branchPath string) (map[uint64][]PseudoLink, error) {
	dir, err := fsutil.OpenBelow(branchPath, whiteout.PseudoLinkDir)
	if err != nil {
		// A container can have made something else under that name, which has no pseudo-links.
		return nil, fsutil.IgnoreGone(err)
	}
	defer dir.Close()
	entries, err := dir.List()
	if err != nil {
		return nil, err
	}
	links := map[uint64][]PseudoLink{}
	for _, entry := range entries {
		ino, branchInode, ok := whiteout.ParsePseudoLink(entry.Name())
		if !ok {
			// A container can have made this file while overlayfs had the layer mounted. The file is content, and no error.
			logrus.Debugf("aufs: %s in %s is not the name of a pseudo-link", entry.Name(), branchPath)
			continue
		}
		links[ino] = append(links[ino], PseudoLink{entry.Name(), branchInode})
	}
	return links, nil
}

// namesOf returns the names that the mount at target has for the inodes of links, relative to target.
func namesOf(target string, links map[uint64][]PseudoLink) (map[uint64][]string, error) {
	root, err := os.Lstat(target)
	if err != nil {
		return nil, err
	}
	device := fsutil.StatOf(root).Dev
	names := map[uint64][]string{}
	err = fsutil.WalkBeneath(target, func(_ *os.File, rel string, st *unix.Stat_t) error {
		directory := st.Mode&unix.S_IFMT == unix.S_IFDIR
		switch {
		case st.Dev != device && directory:
			// Another file system is mounted there.
			return fs.SkipDir
		case st.Dev == device && !directory && links[st.Ino] != nil:
			names[st.Ino] = append(names[st.Ino], rel)
		}
		return nil
	})
	return names, err
}

// maintenanceFile is where a process tells aufs that it flushes pseudo-links. Until the process closes the file, aufs refuses the mount to
// others, with EAGAIN. But aufs does not check this in every call, and it does not refuse a process that has an ancestor with the flusher's
// process number. The flusher writes "si=<id of the mount>", and later "clean" (fs/aufs/procfs.c).
const maintenanceFile = "/proc/fs/aufs/plink_maint"

// A maintenance is a period in which only one thread can use an aufs mount.
type maintenance struct {
	// f is nil on a kernel without maintenanceFile: everything but clean works without it.
	f *os.File
}

// enterMaintenance begins the maintenance of the mount at target, for the calling thread.
func enterMaintenance(target string) (maintenance, error) {
	id, err := MountID(target)
	if err != nil {
		return maintenance{}, err
	}
	f, err := os.OpenFile(maintenanceFile, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return maintenance{}, nil
	}
	if err != nil {
		return maintenance{}, err
	}
	runtime.LockOSThread()
	if _, err := f.WriteString("si=" + id); err != nil {
		runtime.UnlockOSThread()
		return maintenance{}, errors.Join(fmt.Errorf("beginning the maintenance of %s: %w", target, err), f.Close())
	}
	return maintenance{f}, nil
}

// clean makes aufs forget its pseudo-links, and removes the entries of the flushed ones.
func (m maintenance) clean(branchPath string, flushed map[string]bool) error {
	if m.f == nil {
		return nil
	}
	if _, err := m.f.WriteString("clean"); err != nil {
		return fmt.Errorf("cleaning the pseudo-links: %w", err)
	}
	if len(flushed) == 0 {
		return nil
	}
	dir, err := fsutil.OpenBelow(branchPath, whiteout.PseudoLinkDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	for name := range flushed {
		if err := dir.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// leave ends the maintenance.
func (m maintenance) leave() error {
	if m.f == nil {
		return nil
	}
	defer runtime.UnlockOSThread()
	return m.f.Close()
}

// sysfsBranches reads the branches of the aufs mount at target, "PATH=PERMISSION" each, in no order. It must not be called for a mount that
// somebody may be unmounting meanwhile: the kernel can crash (see internal/core/inuse/notes.go).
func sysfsBranches(target string) ([]string, error) {
	dir, err := sysfsDir(target)
	if err != nil {
		return nil, err
	}
	// Beside br0, br1, ... there are brid0, brid1, ...
	files, err := filepath.Glob(filepath.Join(dir, "br[0-9]*"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no branches of %s in %s: is sysfs mounted?", target, dir)
	}
	branches := make([]string, 0, len(files))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		branches = append(branches, strings.TrimSuffix(string(content), "\n"))
	}
	return branches, nil
}

// CountBranches returns the number of branches of the aufs mount at target.
func CountBranches(target string) (int, error) {
	branches, err := sysfsBranches(target)
	return len(branches), err
}

// sysfsDir returns the directory in which the kernel describes the aufs mount at target.
func sysfsDir(target string) (string, error) {
	id, err := MountID(target)
	return Sysfs + "/si_" + id, err
}

// MountID returns the name that aufs gives its mount at target.
func MountID(target string) (string, error) {
	var stx unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, target, unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &stx); err != nil && !fsutil.IsForbidden(err) {
		return "", &fs.PathError{Op: "statx", Path: target, Err: err}
	}
	if stx.Mask&unix.STATX_MNT_ID == 0 {
		// The kernel is older than Linux 5.8, or the call is forbidden.
		return MountIDByPath(target)
	}
	// There may be hundreds of mounts, and only one line counts.
	content, err := fsutil.ReadProc("/proc/thread-self/mountinfo")
	if err != nil {
		return "", err
	}
	number := strconv.FormatUint(stx.Mnt_id, 10) + " "
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, number) {
			continue
		}
		if fields := strings.Fields(line); slices.Contains(fields, "aufs") {
			for option := range strings.SplitSeq(fields[len(fields)-1], ",") {
				if id, ok := strings.CutPrefix(option, "si="); ok {
					return id, nil
				}
			}
		}
	}
	return "", fmt.Errorf("no aufs mount at %s in mountinfo", target)
}

// MountIDByPath is MountID for kernels that do not tell the number of a mount.
func MountIDByPath(target string) (string, error) {
	resolved, err := filepath.EvalSymlinks(target)
	if err != nil {
		return "", err
	}
	mounts, err := mountutil.MountsHere(mountinfo.SingleEntryFilter(resolved))
	if err != nil {
		return "", err
	}
	// The last mount is on top.
	for _, m := range slices.Backward(mounts) {
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			if id, ok := strings.CutPrefix(option, "si="); ok && m.FSType == "aufs" {
				return id, nil
			}
		}
	}
	return "", fmt.Errorf("no aufs mount at %s in mountinfo", target)
}

// Sysfs is the directory in which the kernel describes aufs mounts.
const Sysfs = "/sys/fs/aufs"
