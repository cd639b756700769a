//go:build linux

package main

import (
	"path/filepath"
	"slices"
	"strconv"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// File descriptors in QEMU of the pipes to this program.
const (
	consoleFd = 3 + iota // the first of exec.Cmd's ExtraFiles
	messagesFd
)

// A machine is what depends on the processor of the guest.
type machine struct {
	qemu string // the emulator's program
	args []string
	// console is the device of the first serial port.
	console string
}

// machines has the machine for each processor, by Go's name of the processor.
var machines = map[string]machine{
	"amd64": {"qemu-system-x86_64", nil, "ttyS0"},
	"arm64": {"qemu-system-aarch64", []string{"-machine", "virt"}, "ttyAMA0"},
}

// kernelArgs is the kernel's command line, without the console. A panic restarts the machine at
// once, which ends QEMU. The guest writes many lines to /dev/kmsg, and
// printk.devkmsg=on keeps the kernel from dropping any. Mitigations would only
// cost time: no program in the guest has anything to hide from the others.
// A timer that the guest sets costs an emulator some system calls, and Go
// programs set thousands in a second: with highres=off and nohz=off the guest
// goes by a periodic tick alone. tsc=reliable keeps it from another clock,
// which is slow to read, when the host is busy.
const kernelArgs = "panic=-1 printk.time=1 printk.devkmsg=on mitigations=off highres=off nohz=off tsc=reliable rdinit=/init"

// qemuArgs returns QEMU's command line. Its files are in dir.
func qemuArgs(dir string, opts options) []string {
	cpu := "max"
	if opts.accel == "kvm" {
		cpu = "host"
	}
	m := machines[opts.arch]
	args := append(slices.Clone(m.args),
		"-accel", opts.accel, "-cpu", cpu, "-smp", strconv.Itoa(opts.cores), "-m", opts.memory,
		"-nographic", "-no-reboot", "-nodefaults",
		"-kernel", opts.kernel, "-initrd", filepath.Join(dir, initramfs), "-append", "console="+m.console+" "+kernelArgs,
		"-chardev", fileChardev("console", consoleFd), "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", fileChardev("messages", messagesFd), "-device", "virtserialport,chardev=messages,name="+wire.MessagesPort)
	// The guest names the disks in this order, from /dev/vda on.
	if hasDisk(opts.fs) {
		args = append(args, "-drive", drive(dir, diskImage))
	}
	if opts.system != "" {
		args = append(args, "-drive", drive(dir, systemImage))
	}
	return args
}

// drive returns a disk whose content is a file in dir. Nobody needs the disk after a crash of the host. The guest gets the
// error of a failed write: by default, QEMU stops the machine when the host's disk is full.
func drive(dir, file string) string {
	return "if=virtio,format=raw,cache=unsafe,werror=report,file=" + filepath.Join(dir, file)
}

// fileChardev returns a character device that writes to a pipe QEMU inherited.
func fileChardev(id string, fd int) string {
	return "file,id=" + id + ",path=/dev/fd/" + strconv.Itoa(fd)
}
