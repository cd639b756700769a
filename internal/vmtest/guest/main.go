//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		os.Exit(work())
	}
	if err := supervise(); err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
	}
	powerOff()
}

// supervise sets the machine up and runs the worker.
func supervise() error {
	if err := setUp(); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	worker, err := syscall.ForkExec("/init", []string{"worker"}, &syscall.ProcAttr{
		Env:   []string{"PATH=/bin", "HOME=/root", "TMPDIR=" + wire.TmpDir},
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	return reap(worker)
}

// reap waits for all children until the worker ends.
func reap(worker int) error {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the worker: %w", err)
		case pid == worker:
			return nil
		}
	}
}

// powerOff ends the virtual machine. It restarts the machine, which ends QEMU
// because of -no-reboot. Turning the machine off would need ACPI in the kernel.
func powerOff() {
	unix.Sync()
	// A write to a virtio-serial port returns before the host has all of the data.
	time.Sleep(time.Second)
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	fmt.Fprintln(os.Stderr, "vmtest: reboot:", err)
	select {}
}
