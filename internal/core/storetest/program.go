//go:build linux

package storetest

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Build returns the program that an environment variable names. If the variable is not set, Build builds the package pkg, in the directory
// dir of its module.
func Build(t *testing.T, variable, dir, pkg, tags string) string {
	t.Helper()
	if program := os.Getenv(variable); program != "" {
		return program
	}
	program := filepath.Join(t.TempDir(), filepath.Base(pkg))
	c := exec.Command("go", "build", "-tags", tags, "-o", program, pkg)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// A Program runs a graph driver on the store at Home, with a process for each command: see internal/intree.
type Program struct {
	Path, Home string
}

// Run runs a command, which has to succeed, and returns its output.
func (p Program) Run(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	c := exec.Command(p.Path, append([]string{"-home", p.Home}, args...)...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = stdin, &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", filepath.Base(p.Path), args, err, errs.String())
	}
	return out.String()
}
