//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

const (
	// mostBranches ends the trial: some kernels accept 32767 branches, and no
	// test needs more than this.
	mostBranches = 1100
	// branchBatch is how many branches one mount(2) appends. The kernel puts
	// all options of one call into a page and, with more than about eighty,
	// writes past the page's end.
	branchBatch = 32
)

// probeBranchLimit appends branches to an aufs mount until the kernel refuses.
func probeBranchLimit() (string, error) {
	dir := "/run/probe"
	if err := os.MkdirAll(filepath.Join(dir, "mnt"), 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	// aufs complains about the first branch beyond the limit.
	announce(wire.AnnounceExpect + "number of branches exceeded")
	defer announce(wire.AnnounceExpectNone)

	top, err := makeBranches(dir, 0, 1)
	if err != nil {
		return "", err
	}
	mnt := filepath.Join(dir, "mnt")
	if err := unix.Mount("none", mnt, "aufs", 0, "br:"+top[0]+"=rw,xino=/dev/shm/probe.xino"); err != nil {
		return "", fmt.Errorf("mount aufs: %w", err)
	}
	defer unix.Unmount(mnt, 0)
	return appendBranches(dir, mnt)
}

func appendBranches(dir, mnt string) (string, error) {
	for total := 1; total < mostBranches; total += branchBatch {
		branches, err := makeBranches(dir, total, branchBatch)
		if err != nil {
			return "", err
		}
		data := "append:" + strings.Join(branches, ",append:")
		err = unix.Mount("none", mnt, "aufs", unix.MS_REMOUNT, data)
		if errors.Is(err, unix.ENOSPC) {
			return countBranches()
		}
		if err != nil {
			return "", fmt.Errorf("append %d branches to %d: %w", branchBatch, total, err)
		}
	}
	return "more than " + strconv.Itoa(mostBranches), nil
}

// countBranches counts the branches of the only aufs mount. The kernel refused
// the last call, but has appended the branches of that call up to the limit.
func countBranches() (string, error) {
	branches, err := filepath.Glob("/sys/fs/aufs/si_*/br[0-9]*")
	if err != nil {
		return "", err
	}
	if len(branches) == 0 {
		return "", errors.New("no branches in /sys/fs/aufs")
	}
	return strconv.Itoa(len(branches)), nil
}

func makeBranches(dir string, first, n int) ([]string, error) {
	var branches []string
	for i := first; i < first+n; i++ {
		branch := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(branch, 0o755); err != nil {
			return nil, err
		}
		branches = append(branches, branch)
	}
	return branches, nil
}
