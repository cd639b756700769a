//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// diskImage is the disk's name in the temporary directory.
const diskImage = "disk.img"

// fileSystems returns the file systems that the tests can run on.
func fileSystems() []string {
	return []string{"ext4", "xfs", "btrfs", "tmpfs"}
}

// hasDisk reports whether a file system needs a disk.
func hasDisk(fs string) bool { return fs != "tmpfs" }

// mkfsArgs returns the command that makes a file system in a file.
func mkfsArgs(fs, image string) []string {
	force := "-f"
	if fs == "ext4" {
		force = "-F" // the image is no block device
	}
	return []string{"mkfs." + fs, "-q", force, image}
}

// makeDisk makes the disk image, if the file system needs one.
func makeDisk(ctx context.Context, dir string, opts options) error {
	if !hasDisk(opts.fs) {
		return nil
	}
	image := filepath.Join(dir, diskImage)
	if err := makeSparse(image, opts.disk); err != nil {
		return err
	}
	args := mkfsArgs(opts.fs, image)
	return runQuietly(command(ctx, sbin(args[0]), args[1:]...))
}

// makeSparse makes a file of the given size that takes no room yet.
func makeSparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return fmt.Errorf("make the disk: %w", err)
	}
	return nil
}

// sbin finds a program that may be in a directory that only root has in PATH.
func sbin(name string) string {
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, name); isFile(path) {
			return path
		}
	}
	return name
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
