//go:build linux

package main

import (
	"errors"
	"os"
)

// A pipe leads from QEMU to this program.
type pipe struct{ r, w *os.File }

// pipes are all pipes, in the order of their file descriptors in QEMU.
type pipes struct {
	console, messages pipe
	suites            []pipe // one for each suite, in the suites' order
}

func openPipes(suites int) (*pipes, error) {
	p := &pipes{suites: make([]pipe, suites)}
	var errs []error
	for _, one := range p.all() {
		var err error
		one.r, one.w, err = os.Pipe()
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		p.closeAll()
		return nil, err
	}
	return p, nil
}

func (p *pipes) all() []*pipe {
	all := []*pipe{&p.console, &p.messages}
	for i := range p.suites {
		all = append(all, &p.suites[i])
	}
	return all
}

func (p *pipes) writers() []*os.File {
	var files []*os.File
	for _, one := range p.all() {
		files = append(files, one.w)
	}
	return files
}

func (p *pipes) closeWriters() {
	for _, w := range p.writers() {
		_ = w.Close() // fails for a nil or closed file, which needs no closing
	}
}

func (p *pipes) closeAll() {
	p.closeWriters()
	for _, one := range p.all() {
		_ = one.r.Close()
	}
}
