//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/seed-642172e2/aufs/internal/testreport"
	"github.com/seed-642172e2/aufs/internal/vmtest/console"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// killGrace is how long to wait for the output of a killed command.
const killGrace = 10 * time.Second

// boot runs the machine until it turns itself off, the time is up, or the context ends.
func boot(ctx context.Context, dir string, opts options) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	log, err := createLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	pipes, err := openPipes(opts.suites())
	if err != nil {
		return nil, err
	}
	defer pipes.closeAll()

	cmd := command(ctx, machines[opts.arch].qemu, qemuArgs(dir, opts)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.ExtraFiles = pipes.ofQEMU()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	// Only QEMU may hold the write ends, or the readers would not notice its end.
	pipes.closeQEMU()

	res := &result{report: &testreport.Report{}}
	wait := res.collect(ctx, pipes, log, opts)
	err = cmd.Wait()
	wait()
	res.bootErr = bootError(ctx, err, said.String(), opts)
	return res, nil
}

// bootError returns why QEMU did not end normally.
func bootError(ctx context.Context, err error, said string, opts options) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("not done after %v", opts.timeout)
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case err != nil:
		return fmt.Errorf("QEMU: %w: %s", err, said)
	}
	return nil
}

// collect starts to read the pipes. The function it returns waits until all
// pipes are read to their ends, which come when QEMU ends.
func (r *result) collect(ctx context.Context, p *pipes, log io.Writer, opts options) (wait func()) {
	readers := []func(){
		func() { r.console, r.consoleErr = readConsole(p.console.r, log) },
		func() {
			defer p.closeSuites()
			r.messagesErr = r.readMessages(p.messages.r, p.suites)
		},
	}
	suites := opts.suites()
	reports := make([]*testreport.Report, len(suites))
	errs := make([]error, len(suites))
	for i, suite := range suites {
		readers = append(readers, func() { reports[i], errs[i] = readTests(ctx, p.suites[suite.Name].r, suite, opts) })
	}
	var all sync.WaitGroup
	for _, read := range readers {
		all.Add(1)
		go func() {
			defer all.Done()
			read()
		}()
	}
	return func() {
		all.Wait()
		for _, report := range reports {
			r.report.Results = append(r.report.Results, report.Results...)
		}
		r.reportErr = errors.Join(errs...)
		findings, err := console.Scan(bytes.NewReader(r.console))
		r.findings, r.consoleErr = findings, errors.Join(r.consoleErr, err)
	}
}

func createLog() (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(consoleLog), 0o755); err != nil {
		return nil, err
	}
	return os.Create(consoleLog)
}

// readConsole returns the kernel's output, and also writes it to the log as it comes.
func readConsole(in io.Reader, log io.Writer) ([]byte, error) {
	defer drain(in)
	var all bytes.Buffer
	_, err := io.Copy(io.MultiWriter(&all, log), in)
	return all.Bytes(), err
}

// readTests has the go command convert the test binary's output into events,
// and makes a report of them.
func readTests(ctx context.Context, in *os.File, suite suite, opts options) (*testreport.Report, error) {
	defer drain(in)
	cmd := command(ctx, "go", "tool", "test2json", "-t", "-p", suite.pkg)
	cmd.Stdin, cmd.Stderr = in, os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return &testreport.Report{}, err
	}
	if err := cmd.Start(); err != nil {
		return &testreport.Report{}, err
	}
	report, err := testreport.Read(events, testreport.Options{Log: os.Stdout, Verbose: opts.verbose})
	drain(events)
	return report, errors.Join(err, cmd.Wait())
}

// drain discards the rest of the input. Whoever writes to a full pipe would block.
func drain(in io.Reader) {
	_, _ = io.Copy(io.Discard, in)
}

// readMessages reads the guest's messages. It writes the output of suites to their pipes.
func (r *result) readMessages(in io.Reader, suites map[string]pipe) error {
	defer drain(in)
	decoder := json.NewDecoder(in)
	var lost error
	for {
		var m wire.Message
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return lost
		}
		if err != nil {
			return errors.Join(lost, fmt.Errorf("messages of the guest: %w", err))
		}
		if m.Output == nil {
			r.message(m)
		} else if _, err := suites[m.Output.Suite].w.Write(m.Output.Text); err != nil && lost == nil {
			lost = fmt.Errorf("output of the tests %s: %w", m.Output.Suite, err)
		}
	}
}
