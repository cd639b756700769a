//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	status := run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// run returns the exit status: 0 on success, 1 on failure, 2 on wrong usage.
func run(ctx context.Context, args []string) int {
	opts, err := parseOptions(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		return 2
	}
	if opts.core, err = corePackages(ctx, opts.arch); err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		return 1
	}
	result, err := vmtest(ctx, opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		return 1
	}
	problems, err := result.print(os.Stdout, opts)
	if err := errors.Join(err, result.keepBench(opts)); err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		return 1
	}
	if len(problems) > 0 {
		return 1
	}
	return 0
}

// vmtest makes the virtual machine and runs it. It returns an error only if it
// cannot do that; everything that happens once QEMU runs is in the result.
func vmtest(ctx context.Context, opts options) (*result, error) {
	dir, err := os.MkdirTemp("", "vmtest-")
	if err != nil {
		return nil, err
	}
	if opts.keep {
		fmt.Println("vmtest: keeping", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	fmt.Println("vmtest: building the programs")
	if err := buildPrograms(ctx, dir, opts); err != nil {
		return nil, err
	}
	fmt.Println("vmtest: making the initramfs and the disk")
	if err := makeInitramfs(ctx, dir, opts); err != nil {
		return nil, err
	}
	if err := makeDisk(ctx, dir, opts); err != nil {
		return nil, err
	}
	if err := makeSystem(ctx, dir, opts); err != nil {
		return nil, err
	}
	fmt.Println("vmtest: booting", opts.kernel)
	return boot(ctx, dir, opts)
}
