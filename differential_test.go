//go:build linux

package aufs

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/differential"
	"github.com/seed-642172e2/aufs/internal/differential/library"
	"github.com/seed-642172e2/aufs/internal/storagelib"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// subject returns the driver on a backend, for package differential. Its Other is the driver on the other backend, if
// the host has that one.
func subject(t *testing.T, name backend.Name) differential.Subject {
	t.Helper()
	s := subjectAlone(t, name)
	other := backend.Aufs
	if name == backend.Aufs {
		other = backend.Overlay
	}
	if testBackends.Has(t, other) {
		o := subjectAlone(t, other)
		s.Other = &o
	}
	return s
}

func subjectAlone(t *testing.T, name backend.Name) differential.Subject {
	t.Helper()
	s := differential.Subject{
		Open: func(home string) (differential.Driver, error) {
			d, err := Init(home, optionsFor(name))
			return library.Driver(d), err
		},
		SplitsLinks: name == backend.Overlay, TouchesDirs: name == backend.Aufs,
		RenameTouches: name == backend.Aufs || storagelib.FSName(t.TempDir()) == "xfs",
		ReadOnly:      layersReadOnly,
	}
	s.Convert = func(home string) error { return convertOnceFree(t.Context(), home) }
	if name == backend.Aufs {
		s.LacksXattrs, s.LosesXattrs = xattrs(t)
	}
	return s
}

// convertOnceFree calls Convert until nobody has a layer mounted any more, for at most a minute. Another test program
// may have started a process in a mount namespace of its own, which has copies of this process's mounts until it ends.
func convertOnceFree(ctx context.Context, home string) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := Convert(ctx, home)
		var busy *mountutil.BusyError
		if !errors.As(err, &busy) || time.Now().After(end) {
			return err
		}
	}
}

// layersReadOnly mounts each layer's directory on itself, read-only.
func layersReadOnly(home string, ids []string) (undo func() error, err error) {
	var mounted []string
	undo = func() error {
		var errs []error
		for _, dir := range slices.Backward(mounted) {
			if err := mountutil.UnmountRetry(dir); err != nil {
				errs = append(errs, err, unix.Unmount(dir, unix.MNT_DETACH))
			}
		}
		return errors.Join(errs...)
	}
	for _, id := range ids {
		dir := filepath.Join(home, "diff", id)
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return nil, errors.Join(fmt.Errorf("bind mount of %s: %w", dir, err), undo())
		}
		mounted = append(mounted, dir)
		if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return nil, errors.Join(fmt.Errorf("making %s read-only: %w", dir, err), undo())
		}
	}
	return undo, nil
}

// xattrs reports how this kernel's aufs treats extended attributes. lacks means that it has none. loses means that it
// makes an attribute empty instead of removing it, or loses an empty one when it copies a directory up. xattrs mounts
// without this driver, because the tests are to find what the driver loses.
func xattrs(t *testing.T) (lacks, loses bool) {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, dir, files{"low/d/": "", "high/": "", "mnt/": ""})
	// All file systems have trusted attributes, but not all have user attributes.
	const empty, gone = "trusted.empty", "trusted.gone"
	must(t, system.Lsetxattr(at("low/d"), empty, nil, 0))
	must(t, system.Lsetxattr(at("low/d"), gone, []byte("v"), 0))
	// The mount has no xino file, because not all file systems support one.
	must(t, mountutil.Mount("mount", at("mnt"), "aufs", 0, "br:"+at("high")+"=rw:"+at("low")+"=ro,noxino"))
	err := unix.Lremovexattr(at("mnt/d"), gone)
	attrs, lerr := system.Llistxattr(at("mnt/d"))
	must(t, mountutil.UnmountRetry(at("mnt")))
	if errors.Is(err, unix.ENOTSUP) {
		t.Log("this kernel's aufs has no extended attributes: they are left out")
		return true, false
	}
	must(t, errors.Join(os.NewSyscallError("lremovexattr", err), lerr))
	if loses = !slices.Contains(attrs, empty) || slices.Contains(attrs, gone); loses {
		t.Log("this kernel's aufs loses empty extended attributes, or removes none: operations that set an empty one or remove one are left out")
	}
	return false, loses
}

// stepsPerLayer is how many operations a layer has on average. With few operations, more sequences run in the same
// time, and a layer still shows what its operations do to each other.
const stepsPerLayer = "15"

// shrinkTime limits the time for shortening a failing sequence.
const shrinkTime = 3 * time.Minute

// refusedRename is what aufs logs, once, when it refuses to rename a directory of several layers.
const refusedRename = "renaming dir who has child(ren) on multiple branches"

// TestDifferential runs random sequences of operations on layers and on a plain directory, and compares the results.
// -rapid.checks, or RAPID_CHECKS in the environment, sets the number of sequences; -rapid.seed, or RAPID_SEED, sets the
// first seed. A failure prints, at its end, a regression case for testdata/differential.
//
// The sequences of "mixed" choose a backend at random for each mount if there are two, convert the store in between,
// and put layers on top of read-only ones. The subtest has aufs in its name if aufs is one of the backends.
func TestDifferential(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) { compareSequences(t, name, differential.Draw) })
	t.Run("mixed", func(t *testing.T) {
		name := backend.Overlay
		if testBackends.Has(t, backend.Aufs) {
			name = backend.Aufs
		}
		testBackends.On(t, name, func(t *testing.T) {
			compareSequences(t, name, func(rt *rapid.T, scratch string) differential.Script {
				return differential.Mix(rt, differential.Draw(rt, scratch))
			})
		})
	})
}

// compareSequences runs the sequences that draw returns.
func compareSequences(t *testing.T, name backend.Name, draw func(rt *rapid.T, scratch string) differential.Script) {
	t.Helper()
	if name == backend.Aufs {
		// Aufs logs a message when a sequence renames a directory of several layers.
		t.Cleanup(wire.ExpectMessages(refusedRename))
	}
	seed := storetest.Seed()
	must(t, flag.Set("rapid.steps", stepsPerLayer))
	s := subject(t, name)
	run := func(script differential.Script) (differential.Counts, error) {
		dir := t.TempDir()
		defer os.RemoveAll(dir)
		return differential.Run(s, script, dir)
	}
	var failed differential.Script
	var failure error
	sequences, counts := 0, differential.Counts{}
	// Package rapid only draws the scripts; nothing fails in it. Package differential shortens a failing script,
	// because it knows what the script means.
	rapid.Check(t, func(rt *rapid.T) {
		if failed != nil {
			return
		}
		scratch := t.TempDir()
		defer os.RemoveAll(scratch)
		script := draw(rt, scratch)
		done, err := run(script)
		if err != nil {
			failed, failure = script, err
			return
		}
		sequences++
		counts.Add(done)
	})
	if failed != nil {
		short, err := differential.Shrink(failed, time.Now().Add(shrinkTime), func(script differential.Script) error {
			_, err := run(script)
			return err
		})
		t.Fatalf("after %d sequences from seed %s on: %v\nmade shorter: %v\n%v", sequences, seed, failure, err, short)
	}
	if want := flag.Lookup("rapid.checks").Value.String(); strconv.Itoa(sequences) != want {
		t.Errorf("%d sequences instead of %s", sequences, want)
	}
	if fs := storagelib.FSName(t.TempDir()); counts.CopiedUpFirst > 0 && fs != "xfs" && fs != "btrfs" {
		t.Errorf("%s shares no blocks, and %d files could not be truncated", fs, counts.CopiedUpFirst)
	}
	t.Logf("from seed %s on, %d sequences: %+v", seed, sequences, counts)
}

// TestDifferentialRegressions runs sequences that once showed a difference.
func TestDifferentialRegressions(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		if name == backend.Aufs {
			t.Cleanup(wire.ExpectMessages(refusedRename))
		}
		cases, err := filepath.Glob("testdata/differential/*.txt")
		must(t, err)
		if len(cases) == 0 {
			t.Fatal("there are none")
		}
		s := subject(t, name)
		for _, file := range cases {
			t.Run(filepath.Base(file), func(t *testing.T) {
				f, err := os.Open(file)
				must(t, err)
				defer f.Close()
				script, err := differential.Parse(f)
				must(t, err)
				if _, err := differential.Run(s, script, t.TempDir()); err != nil {
					t.Error(err)
				}
			})
		}
	})
}
