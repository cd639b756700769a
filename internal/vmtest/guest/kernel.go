//go:build linux

package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// describeKernel finds out what the host wants to know of the kernel.
func describeKernel() (wire.Kernel, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return wire.Kernel{}, fmt.Errorf("uname: %w", err)
	}
	kernel := wire.Kernel{Release: unix.ByteSliceToString(uts.Release[:])}
	filesystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return kernel, err
	}
	kernel.Aufs = strings.Contains(string(filesystems), "\taufs\n")
	if !kernel.Aufs {
		return kernel, nil
	}
	if version, err := os.ReadFile("/sys/module/aufs/version"); err == nil {
		kernel.AufsVersion = strings.TrimSpace(string(version))
	}
	kernel.BranchLimit = branchLimit()
	return kernel, nil
}

// branchLimit says how many branches an aufs mount can have, and how that is
// known: the kernel's configuration tells it, or else a trial does.
func branchLimit() string {
	if limit := configuredLimit("/proc/config.gz"); limit != "" {
		return limit + " (from its configuration)"
	}
	limit, err := probeBranchLimit()
	if err != nil {
		return "unknown (" + err.Error() + ")"
	}
	return limit + " (by trial)"
}

// configuredLimit returns "" if there is no such file, or nothing in it.
func configuredLimit(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	config, err := gzip.NewReader(f)
	if err != nil {
		return ""
	}
	return findLimit(config)
}

var limitOption = regexp.MustCompile(`^CONFIG_AUFS_BRANCH_MAX_(\d+)=y$`)

// findLimit reads a kernel's configuration.
func findLimit(config io.Reader) string {
	lines := bufio.NewScanner(config)
	for lines.Scan() {
		if match := limitOption.FindStringSubmatch(lines.Text()); match != nil {
			return match[1]
		}
	}
	return ""
}
