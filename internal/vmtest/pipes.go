//go:build linux

package main

import (
	"errors"
	"os"
)

// A pipe leads from QEMU to this program, or to a program that reads a suite's output.
type pipe struct{ r, w *os.File }

// pipes are all pipes.
type pipes struct {
	// console and messages come from QEMU, in the order of their file descriptors there.
	console, messages pipe
	suites            map[string]pipe // the output of each suite, which comes in messages
}

func openPipes(suites []suite) (*pipes, error) {
	p := &pipes{suites: map[string]pipe{}}
	var errs []error
	open := func() (one pipe) {
		var err error
		one.r, one.w, err = os.Pipe()
		errs = append(errs, err)
		return one
	}
	p.console, p.messages = open(), open()
	for _, s := range suites {
		p.suites[s.Name] = open()
	}
	if err := errors.Join(errs...); err != nil {
		p.closeAll()
		return nil, err
	}
	return p, nil
}

// ofQEMU returns the files that QEMU writes to.
func (p *pipes) ofQEMU() []*os.File { return []*os.File{p.console.w, p.messages.w} }

// closeQEMU closes the files that QEMU writes to.
func (p *pipes) closeQEMU() {
	for _, w := range p.ofQEMU() {
		_ = w.Close() // fails for a nil or closed file, which needs no closing
	}
}

// closeSuites ends the output of all suites.
func (p *pipes) closeSuites() {
	for _, one := range p.suites {
		_ = one.w.Close() // see closeQEMU
	}
}

func (p *pipes) closeAll() {
	p.closeQEMU()
	p.closeSuites()
	for _, one := range p.suites {
		_ = one.r.Close()
	}
	_ = p.console.r.Close()
	_ = p.messages.r.Close()
}
