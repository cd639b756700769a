package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress runs the steps one by one, shows how far they are, and remembers what
// each of them took.
type progress struct {
	ctx   context.Context // Ends the run between two steps.
	out   io.Writer
	bars  bool // out is a terminal.
	steps []step
}

// work is what a step does. It calls add for each unit that it has done, and
// returns a note on what came of it.
type work func(add func(int64)) (note string, err error)

// run runs one step. The total is the number of units in it, 0 where nobody knows.
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

// show puts a bar on the terminal and returns how to move it and how to take it
// away. On anything else than a terminal both do nothing: run prints a line when
// the step is done.
func (p *progress) show(name string, total int64) (add func(int64), finish func()) {
	if !p.bars {
		return func(int64) {}, func() {}
	}
	pool := mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40))
	bar := newBar(pool, name, total)
	return bar.IncrInt64, func() {
		// The line that run prints takes the bar's place.
		bar.Abort(true)
		pool.Wait()
	}
}

// newBar is a bar where the total is known and a spinner with a counter where it
// is not.
func newBar(pool *mpb.Progress, name string, total int64) *mpb.Bar {
	label := mpb.PrependDecorators(decor.Name("  " + fmt.Sprintf("%-28s", name)))
	if total == 0 {
		return pool.New(0, mpb.SpinnerStyle(), label, mpb.AppendDecorators(decor.CurrentNoUnit(" %d")))
	}
	return pool.New(total, mpb.BarStyle(), label, mpb.AppendDecorators(decor.Percentage(), decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 6})))
}
