//go:build linux

package main

import (
	"path/filepath"
	"strconv"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// File descriptors on which QEMU finds the pipes to this program.
const (
	consoleFd = 3 + iota // the first one of exec.Cmd's ExtraFiles
	messagesFd
	suitesFd // the first suite's; the others' follow
)

// kernelArgs is the kernel's command line. A panic restarts at once, which
// ends QEMU; the marks in /dev/kmsg are many, and none may be dropped. Nobody
// is to be kept from reading anything: mitigations would only take time.
const kernelArgs = "console=ttyS0 panic=-1 printk.time=1 printk.devkmsg=on mitigations=off rdinit=/init"

// qemuArgs is QEMU's command line, whose files are in dir.
func qemuArgs(dir string, opts options) []string {
	cpu := "max"
	if opts.accel == "kvm" {
		cpu = "host"
	}
	args := []string{
		"-accel", opts.accel, "-cpu", cpu, "-smp", strconv.Itoa(opts.cores), "-m", opts.memory,
		"-nographic", "-no-reboot", "-nodefaults",
		"-kernel", opts.kernel, "-initrd", filepath.Join(dir, initramfs), "-append", kernelArgs,
		"-chardev", fileChardev("console", consoleFd), "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
	}
	args = append(args, port("messages", messagesFd, wire.MessagesPort)...)
	for i, suite := range opts.suites() {
		args = append(args, port(suite.Name, suitesFd+i, suite.Port())...)
	}
	if hasDisk(opts.fs) {
		// Nobody needs the disk after a crash of the host.
		drive := "if=virtio,format=raw,cache=unsafe,file=" + filepath.Join(dir, diskImage)
		args = append(args, "-drive", drive)
	}
	return args
}

// port is a virtio-serial port of the given name that leads to a pipe.
func port(id string, fd int, name string) []string {
	return []string{"-chardev", fileChardev(id, fd), "-device", "virtserialport,chardev=" + id + ",name=" + name}
}

// fileChardev is a character device that writes to a pipe QEMU has inherited.
func fileChardev(id string, fd int) string {
	return "file,id=" + id + ",path=/dev/fd/" + strconv.Itoa(fd)
}
