//go:build linux

package main

import (
	"context"
	"os"
	"time"

	"github.com/seed-642172e2/aufs/internal/bench/rounds"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// runBench runs the benchmarks. A failed benchmark is a result, not an error.
func runBench(host messages, plan wire.Plan) error {
	ctx, stop := context.WithTimeout(context.Background(), plan.TestTimeout)
	defer stop()
	dir, err := os.MkdirTemp(wire.TmpDir, "bench-")
	if err != nil {
		return err
	}
	p := rounds.Plan{
		Programs: wire.BenchPrograms(), Bench: plan.Run,
		Time: plan.Bench.Time, Count: plan.Bench.Count, Size: plan.Bench.Size,
		Dir: dir, Begin: func(name string) { announce(wire.AnnounceTest + name) },
	}
	if plan.Bench.Profile {
		p.Profile = func(name string, profile []byte) error {
			return host.send(wire.Message{Profile: &wire.Profile{Name: name, Content: profile}})
		}
	}
	start := time.Now()
	exit := wire.Exit{}
	results := sender(func(s string) error { return host.send(wire.Message{Results: s}) })
	news := sender(func(s string) error { return host.send(wire.Message{News: s}) })
	if err := p.Run(ctx, results, news); err != nil {
		exit.Error = err.Error()
	}
	exit.Elapsed = time.Since(start)
	return host.send(wire.Message{Bench: &exit})
}

// A sender sends everything that is written to it.
type sender func(text string) error

// Write implements io.Writer.
func (s sender) Write(p []byte) (int, error) { return len(p), s(string(p)) }
