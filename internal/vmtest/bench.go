//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// benchPlan returns the guest's plan for benchmarks; nil if there are none to run.
func (opts options) benchPlan() *wire.Bench {
	if opts.bench == "" {
		return nil
	}
	return &wire.Bench{Time: opts.benchtime, Count: opts.count, Size: opts.size, Profile: opts.profiles != ""}
}

// keepBench writes the results of the benchmarks to their file, and their
// profiles. If the guest did not finish, it writes the results that have come.
func (r *result) keepBench(opts options) error {
	if opts.bench == "" {
		return nil
	}
	errs := []error{os.WriteFile(opts.bench, []byte(r.benchResults.String()), 0o644)}
	for _, profile := range r.profiles {
		errs = append(errs, os.WriteFile(filepath.Join(opts.profiles, filepath.Base(profile.Name)), profile.Content, 0o644))
	}
	return errors.Join(errs...)
}

// benchProblems adds the problems of the benchmarks.
func (r *result) benchProblems(opts options, add func(string, ...any)) {
	switch {
	case opts.bench == "":
	case r.bench == nil:
		add("the guest ended before its benchmarks did")
	case r.bench.Error != "":
		add("benchmarks: %s", r.bench.Error)
	}
}
