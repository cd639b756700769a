package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress runs the steps one by one, shows their progress, and records how long
// each of them took.
type progress struct {
	ctx   context.Context // Ends the run between two steps.
	out   io.Writer
	bars  bool // out is a terminal.
	steps []step
}

// work does a step. It calls add for each unit that it has done, and returns a
// note on the result.
type work func(add func(int64)) (note string, err error)

// run runs one step of total units, or of an unknown number if total is 0.
func (p *progress) run(name string, total int64, do work) error {
	if err := context.Cause(p.ctx); err != nil {
		return err
	}
	add, finish := p.show(name, total)
	start := time.Now()
	note, err := do(add)
	finish()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	took := time.Since(start)
	p.steps = append(p.steps, step{name, took, note})
	fmt.Fprintf(p.out, "  %-28s %9s  %s\n", name, seconds(took), note)
	return nil
}

// show puts a bar on the terminal, and returns functions that move the bar and
// that remove it. If out is not a terminal, both functions do nothing: run
// prints a line when the step is done.
func (p *progress) show(name string, total int64) (add func(int64), finish func()) {
	if !p.bars {
		return func(int64) {}, func() {}
	}
	pool := mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40))
	bar := newBar(pool, name, total)
	return bar.IncrInt64, func() {
		// The line that run prints replaces the bar.
		bar.Abort(true)
		pool.Wait()
	}
}

// newBar returns a bar if the total is known, and otherwise a spinner with a counter.
func newBar(pool *mpb.Progress, name string, total int64) *mpb.Bar {
	label := mpb.PrependDecorators(decor.Name("  " + fmt.Sprintf("%-28s", name)))
	if total == 0 {
		return pool.New(0, mpb.SpinnerStyle(), label, mpb.AppendDecorators(decor.CurrentNoUnit(" %d")))
	}
	return pool.New(total, mpb.BarStyle(), label, mpb.AppendDecorators(decor.Percentage(), decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 6})))
}
