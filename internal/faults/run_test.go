//go:build linux && (amd64 || arm64)

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Launch()
	if dir := os.Getenv("FAULTS_TEST_DIR"); dir != "" {
		fmt.Print(program(dir))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program makes a directory, a file in it, and a child that deletes the file.
func program(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "before"), nil, 0o600); err != nil {
		return err
	}
	Tell(Begin)
	defer Tell(End)
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "d/f"), []byte("content"), 0o600); err != nil {
		return err
	}
	return exec.Command("/bin/rm", filepath.Join(dir, "d/f")).Run()
}

// run runs program in a directory of its own, and returns what it printed, and what is in the directory afterwards.
func run(t *testing.T, decide func(Call) Verdict) (said string, left []string, err error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the filter takes root")
	}
	Need(t)
	dir := t.TempDir()
	var out strings.Builder
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), "FAULTS_TEST_DIR="+dir)
	c.Stdout, c.Stderr = &out, &out
	err = Run(c, func(call Call) Verdict {
		// The runtime opens files and devices as well.
		if !strings.HasPrefix(call.Paths[0], dir) {
			return Continue
		}
		return decide(call)
	})
	werr := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		left = append(left, strings.TrimPrefix(strings.TrimPrefix(path, dir), "/"))
		return err
	})
	return out.String(), left[1:], errors.Join(err, werr)
}

func TestRun(t *testing.T) {
	var calls []string
	_, left, err := run(t, func(c Call) Verdict {
		calls = append(calls, c.Name+" "+filepath.Base(c.Paths[0]))
		return Continue
	})
	want := []string{"mkdirat d", "openat f", "write f", "unlinkat f"}
	if err != nil || !slices.Equal(calls, want) || !slices.Equal(left, []string{"before", "d"}) {
		t.Errorf("%v: calls %q, left %q", err, calls, left)
	}
}

func TestKill(t *testing.T) {
	for name, want := range map[string][]string{
		"mkdirat":  {"before"},
		"openat":   {"before", "d"},
		"write":    {"before", "d", "d/f"},
		"unlinkat": {"before", "d", "d/f"},
	} {
		_, left, err := run(t, func(c Call) Verdict {
			if c.Name == name {
				return Kill
			}
			return Continue
		})
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Success() || !slices.Equal(left, want) {
			t.Errorf("killed at %s: %v, left %q", name, err, left)
		}
	}
}

func TestFail(t *testing.T) {
	said, left, err := run(t, func(c Call) Verdict {
		if c.Name == "write" {
			return Fail(unix.ENOSPC)
		}
		return Continue
	})
	if err != nil || !strings.Contains(said, "no space left") || !slices.Equal(left, []string{"before", "d", "d/f"}) {
		t.Errorf("%v: %q, left %q", err, said, left)
	}
}
