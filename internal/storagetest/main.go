//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/bats"
	"golang.org/x/sys/unix"
)

func main() {
	var s suite
	flag.StringVar(&s.library, "library", "go.podman.io/storage@v1.65.1", "`module@version` of the storage library")
	flag.StringVar(&s.backend, "backend", "auto", "the driver's option `backend`")
	flag.StringVar(&s.dir, "dir", "", "the `directory` for the copy of the library; without -nobuild, what is there is removed")
	flag.BoolVar(&s.noBuild, "nobuild", false, "take the copy that is there, and do not make it anew")
	flag.BoolVar(&s.noRun, "norun", false, "make the copy, and run no tests")
	flag.StringVar(&s.tests, "tests", "*.bats", "`pattern` of the test files to run")
	flag.Parse()
	if s.dir == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := run(ctx, os.Stdout, s); err != nil {
		fmt.Fprintln(os.Stderr, "storagetest:", err)
		os.Exit(1)
	}
}

// run runs the tests with both drivers, and prints what differs.
func run(ctx context.Context, out io.Writer, s suite) (err error) {
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if !s.noBuild {
		if err := s.build(ctx); err != nil {
			return err
		}
	}
	if s.noRun {
		return nil
	}
	used, err := s.backendInUse(ctx)
	if err != nil {
		return err
	}
	ours, err := s.run(ctx, out, ours)
	if err != nil {
		return err
	}
	overlay, err := s.run(ctx, out, "overlay")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s, backend %s:\n", s.library, used)
	return bats.Comparison{Expected: expectedWith(s.library, used, overlay)}.Print(out, ours, overlay)
}
