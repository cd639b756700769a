//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// systemImage is the name of the disk with the system, in the temporary directory.
const systemImage = "system.img"

// checkSystem checks the options of the system.
func (opts options) checkSystem() error {
	if (opts.system == "") != (opts.command == "") {
		return errors.New("-system and -command need each other")
	}
	if opts.system == "" {
		return nil
	}
	if opts.bench != "" {
		return errors.New("a command and benchmarks cannot be in one run")
	}
	if _, err := os.Stat(filepath.Join(opts.system, "bin/bash")); err != nil {
		return fmt.Errorf("no system: %w", err)
	}
	return nil
}

// systemPlan returns the guest's plan for the command; nil if there is none.
func (opts options) systemPlan() *wire.System {
	if opts.system == "" {
		return nil
	}
	device := "/dev/vda"
	if hasDisk(opts.fs) {
		device = "/dev/vdb" // see qemuArgs
	}
	return &wire.System{Device: device, Command: opts.command}
}

// makeSystem makes the disk with the system, if there is one. It reads files of other owners, so it needs root.
func makeSystem(ctx context.Context, dir string, opts options) error {
	if opts.system == "" {
		return nil
	}
	image := filepath.Join(dir, systemImage)
	if err := makeSparse(image, opts.disk); err != nil {
		return err
	}
	return runQuietly(command(ctx, sbin("mkfs.ext4"), "-q", "-F", "-d", opts.system, image))
}

// commandProblems adds the problems of the command in the system.
func (r *result) commandProblems(opts options, add func(string, ...any)) {
	switch {
	case opts.system == "":
	case r.command == nil:
		add("the guest ended before its command did")
	case r.command.Error != "":
		add("the command: %s", r.command.Error)
	}
}
