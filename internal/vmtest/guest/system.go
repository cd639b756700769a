//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// runInSystem runs the plan's command in the system. If the command fails, that is a result, not an error.
func runInSystem(host messages, plan wire.Plan) error {
	if err := enterSystem(plan.System.Device); err != nil {
		return fmt.Errorf("enter the system: %w", err)
	}
	announce(wire.AnnounceTest + "the command")
	ctx, stop := context.WithTimeout(context.Background(), plan.TestTimeout)
	defer stop()
	cmd := exec.CommandContext(ctx, "/bin/bash", "-c", plan.System.Command)
	cmd.Dir = "/root"
	cmd.Env = []string{"HOME=/root", "USER=root", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + wire.TmpDir}
	printed := sender(func(text string) error { return host.send(wire.Message{Printed: text}) })
	cmd.Stdout, cmd.Stderr = printed, printed
	exit, err := runCommand(cmd)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		exit.Error = "the time was up"
	}
	return host.send(wire.Message{Command: &exit})
}

// enterSystem makes the system on the device the root directory of this process. Its wire.TmpDir is the file system under test.
func enterSystem(device string) error {
	if err := mountOn("ext4", device, wire.SystemDir); err != nil {
		return err
	}
	tmp := wire.SystemDir + wire.TmpDir
	if err := unix.Mount(wire.TmpDir, tmp, "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s to %s: %w", wire.TmpDir, tmp, err)
	}
	if err := changeRoot(wire.SystemDir); err != nil {
		return err
	}
	if err := mountKernels(); err != nil {
		return err
	}
	errs := []error{mountOn("cgroup2", "cgroup2", "/sys/fs/cgroup"), mountOn("devpts", "devpts", "/dev/pts"), mountOn("mqueue", "mqueue", "/dev/mqueue")}
	// udev makes these where there is one.
	for name, target := range map[string]string{"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"} {
		errs = append(errs, os.Symlink("/proc/self/fd"+target, "/dev/"+name))
	}
	return errors.Join(append(errs, upLoopback())...)
}

// upLoopback turns the network device lo on.
func upLoopback() error {
	out, err := exec.Command("/sbin/ip", "link", "set", "lo", "up").CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	return nil
}
