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

// describeKernel returns what the host needs to know about the kernel.
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

// branchLimit returns how many branches an aufs mount can have, and the source:
// the kernel's configuration or, without that, a trial.
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

// configuredLimit returns "" if the file does not exist or holds no limit.
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

// findLimit returns the branch limit in a kernel's configuration.
func findLimit(config io.Reader) string {
	lines := bufio.NewScanner(config)
	for lines.Scan() {
		if match := limitOption.FindStringSubmatch(lines.Text()); match != nil {
			return match[1]
		}
	}
	return ""
}
