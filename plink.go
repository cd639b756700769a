//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// A lower file with several names that is written to through one of them is copied up under that name only; the others
// are pseudo-links: aufs remembers, in a file of the writable branch's .wh..wh.plnk, that they are the same file.
// The branch alone does not show them, so that whoever reads it (an archive of the layer, a child's mount) would get the
// old content under the other names. Flushing gives each name its hard link in the branch.

// aufsMagic is what statfs(2) tells of an aufs mount: "aufs".
const aufsMagic = 0x61756673

// pseudoLinkDir is where aufs keeps the pseudo-links of a writable branch, at its root.
const pseudoLinkDir = ".wh..wh.plnk"

// Unmount unmounts the aufs mount at target, after it has flushed its pseudo-links. EBUSY is retried for a bounded
// time, about a second and a half; the error then says what to look for. A target that is not mounted, or does not
// exist, is no error.
func Unmount(target string) error {
	branches, err := writableBranches(target)
	if err == nil {
		err = flushPseudoLinks(target, branches)
	}
	if err != nil {
		logrus.Warnf("aufs: flushing the pseudo-links of %s: %v", target, err)
	}
	if err := unmountRetry(target); err != nil {
		return fmt.Errorf("aufs: %w", err)
	}
	return nil
}

// flushPseudoLinks makes each name of a pseudo-linked file a hard link in the writable branches of the mount at target.
// If it fails nothing is lost: the pseudo-links are still there for the layer's next mount.
func flushPseudoLinks(target string, writable []string) error {
	inodes := map[uint64]bool{}
	for _, path := range writable {
		if err := readPseudoLinks(path, inodes); err != nil {
			return err
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	return copyUpNames(target, inodes)
}

// isAufs tells if target is on aufs.
func isAufs(target string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: target, Err: err}
	}
	return uint32(st.Type) == aufsMagic, nil
}

// writableBranches are the paths of the writable branches of the aufs mount at target: none if it is no aufs mount.
func writableBranches(target string) ([]string, error) {
	aufs, err := isAufs(target)
	if err != nil || !aufs {
		return nil, ignoreGone(err)
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

// readPseudoLinks adds the inode numbers, in the mount, of the files that are pseudo-linked in a branch. The entries are
// named <inode number in the mount>.<inode number in the branch>.
func readPseudoLinks(branchPath string, inodes map[uint64]bool) error {
	entries, err := os.ReadDir(filepath.Join(branchPath, pseudoLinkDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		number, _, _ := strings.Cut(entry.Name(), ".")
		ino, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return fmt.Errorf("%s in %s is not the name of a pseudo-link", entry.Name(), branchPath)
		}
		inodes[ino] = true
	}
	return nil
}

// copyUpNames asks aufs, for each name in the mount of one of the inodes, to have the name in the writable branch too. A
// change of owner that changes nothing does it.
func copyUpNames(target string, inodes map[uint64]bool) error {
	root, err := os.Lstat(target)
	if err != nil {
		return err
	}
	device := statOf(root).Dev
	return filepath.WalkDir(target, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		info, err := entry.Info()
		if err != nil {
			return ignoreGone(err)
		}
		st := statOf(info)
		if st.Dev != device {
			// Another file system is mounted there.
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() || !inodes[st.Ino] {
			return nil
		}
		return ignoreGone(os.Lchown(path, -1, -1))
	})
}

// ignoreGone drops the error of a file that was deleted while its directory was walked: a mount may be in use.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// statOf is the stat(2) of a file that was looked at with os.Lstat or the like.
func statOf(info fs.FileInfo) *syscall.Stat_t {
	return info.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // so says os.FileInfo on Linux
}

// sysfsBranches reads the branches of the aufs mount at target, "PATH=PERMISSION" each, in no order.
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

// countBranches is how many branches the aufs mount at target has.
func countBranches(target string) (int, error) {
	branches, err := sysfsBranches(target)
	return len(branches), err
}

// sysfsDir is where the kernel describes the aufs mount at target.
func sysfsDir(target string) (string, error) {
	resolved, err := filepath.EvalSymlinks(target)
	if err != nil {
		return "", err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(resolved))
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		for _, option := range strings.Split(m.VFSOptions, ",") {
			if id, ok := strings.CutPrefix(option, "si="); ok && m.FSType == "aufs" {
				return "/sys/fs/aufs/si_" + id, nil
			}
		}
	}
	return "", fmt.Errorf("no aufs mount at %s in mountinfo", target)
}
