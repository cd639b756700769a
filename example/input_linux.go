package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/containers/storage/pkg/chrootarchive"
)

// defaultInput returns the Go toolchain's own tree: many thousand real files,
// present on every machine that can build this program.
func defaultInput() (string, error) {
	if dir := os.Getenv("GOROOT"); dir != "" {
		return dir, nil
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("no -input, and no Go toolchain to take instead: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// openInput returns the directory that has the input. It first unpacks an
// archive, compressed or not, into scratch.
func openInput(input, scratch string) (string, error) {
	fi, err := os.Stat(input)
	if err != nil {
		return "", err
	}
	if fi.IsDir() {
		return filepath.EvalSymlinks(input)
	}
	f, err := os.Open(input)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return "", err
	}
	if err := chrootarchive.Untar(f, scratch, nil); err != nil {
		return "", fmt.Errorf("unpack %s: %w", input, err)
	}
	return scratch, nil
}

// probeAbilities tests what files the file system under dir can hold.
func probeAbilities(dir string) (can abilities, err error) {
	file := filepath.Join(dir, "probe")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return can, err
	}
	device := file + "-device"
	can.UserXattr = unix.Lsetxattr(file, "user.example", []byte("x"), 0) == nil
	can.Capability = unix.Lsetxattr(file, "security.capability", []byte(capNetRaw), 0) == nil
	can.Device = unix.Mknod(device, unix.S_IFCHR|0o600, devNull) == nil
	err = os.Remove(file)
	if can.Device {
		err = errors.Join(err, os.Remove(device))
	}
	return can, err
}
