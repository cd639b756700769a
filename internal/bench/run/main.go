//go:build linux

// Command run runs the programs that the benchmarks are compiled into, in turn, and writes their results to a file.
// It needs root.
//
//	run -out FILE PROGRAM [PROGRAM]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/seed-642172e2/aufs/internal/bench"
	"github.com/seed-642172e2/aufs/internal/bench/rounds"
	"golang.org/x/sys/unix"
)

var errUsage = errors.New("usage: run -out FILE PROGRAM [PROGRAM]")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var plan rounds.Plan
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	out := flags.String("out", "", "file for the results")
	parent := flags.String("dir", os.TempDir(), "directory on the file system under test")
	flags.StringVar(&plan.Bench, "bench", "", "regular expression of benchmarks")
	flags.StringVar(&plan.Time, "benchtime", "300ms", "how long each benchmark is in each round")
	flags.IntVar(&plan.Count, "count", 6, "how many rounds there are")
	flags.StringVar(&plan.Size, "size", bench.Full, strings.Join(bench.Sizes(), ", "))
	profiles := flags.String("profiles", "", "directory for CPU profiles; none: none are made")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || flags.NArg() == 0 {
		return errUsage
	}
	if *profiles != "" {
		plan.Profile = func(name string, profile []byte) error {
			return os.WriteFile(filepath.Join(*profiles, name), profile, 0o600)
		}
	}
	for _, program := range flags.Args() {
		path, err := filepath.Abs(program)
		if err != nil {
			return err
		}
		plan.Programs = append(plan.Programs, path)
	}
	var err error
	if plan.Dir, err = os.MkdirTemp(*parent, "aufs-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(plan.Dir)
	results, err := os.Create(*out)
	if err != nil {
		return err
	}
	return errors.Join(plan.Run(ctx, results, os.Stderr), results.Close())
}
