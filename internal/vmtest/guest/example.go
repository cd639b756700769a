//go:build linux

package main

import (
	"os/exec"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// runExample runs an example program on one backend.
func runExample(program wire.Program, backend string) wire.Example {
	announce(wire.AnnounceTest + program.Name + " on " + backend)
	cmd := exec.Command(program.Path(),
		"-root", filepath.Join(wire.TmpDir, program.Name+"-"+backend),
		"-input", wire.InputPath,
		"-backend", backend)
	output := &tail{}
	cmd.Stdout, cmd.Stderr = output, output
	exit, err := runCommand(cmd)
	if err != nil {
		exit.Error = err.Error()
	}
	return wire.Example{Name: program.Name, Backend: backend, Output: string(output.bytes), Exit: exit}
}

// A tail keeps the last tailSize bytes written to it.
type tail struct{ bytes []byte }

// tailSize is far more than the example program writes.
const tailSize = 1 << 16

func (t *tail) Write(p []byte) (int, error) {
	t.bytes = append(t.bytes, p...)
	if extra := len(t.bytes) - tailSize; extra > 0 {
		t.bytes = t.bytes[extra:]
	}
	return len(p), nil
}
