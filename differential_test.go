//go:build linux

package aufs

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/differential"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// subject is the driver on a backend, as package differential wants it.
func subject(t *testing.T, name backendName) differential.Subject {
	t.Helper()
	open := func(name backendName) func(string) (graphdriver.Driver, error) {
		return func(home string) (graphdriver.Driver, error) { return Init(home, optionsFor(name)) }
	}
	s := differential.Subject{
		Open: open(name), SplitsLinks: name == backendOverlay, TouchesDirs: name == backendAufs,
	}
	if name == backendAufs {
		s.LacksXattrs, s.LosesXattrs = xattrs(t)
	}
	other := backendAufs
	if name == backendAufs {
		other = backendOverlay
	}
	if hasBackend(t, other) {
		s.OpenOther = open(other)
	}
	return s
}

// xattrs is what this kernel's aufs makes of extended attributes: if it has any, and if it makes one empty that it is told to
// remove, or loses an empty one when it copies a directory up. It is asked without this driver, whose losses are to be found.
func xattrs(t *testing.T) (lacks, loses bool) {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, dir, files{"low/d/": "", "high/": "", "mnt/": ""})
	// All file systems have these, but not all have those of users.
	const empty, gone = "trusted.empty", "trusted.gone"
	must(t, system.Lsetxattr(at("low/d"), empty, nil, 0))
	must(t, system.Lsetxattr(at("low/d"), gone, []byte("v"), 0))
	// Not all file systems can have an xino file, and this does without.
	must(t, mountFS("mount", at("mnt"), "aufs", 0, "br:"+at("high")+"=rw:"+at("low")+"=ro,noxino"))
	err := unix.Lremovexattr(at("mnt/d"), gone)
	attrs, lerr := system.Llistxattr(at("mnt/d"))
	must(t, unmountRetry(at("mnt")))
	if errors.Is(err, unix.ENOTSUP) {
		t.Log("this kernel's aufs has no extended attributes: they are left out")
		return true, false
	}
	must(t, errors.Join(os.NewSyscallError("lremovexattr", err), lerr))
	if loses = !slices.Contains(attrs, empty) || slices.Contains(attrs, gone); loses {
		t.Log("this kernel's aufs loses empty extended attributes, or does not remove any: they are left out")
	}
	return false, loses
}

// seedOnce chooses the seed of random sequences, if the command line does not: the same on all backends.
var seedOnce = sync.OnceValue(func() string {
	seed := flag.Lookup("rapid.seed")
	if seed.Value.String() == "0" {
		if err := seed.Value.Set(strconv.FormatInt(time.Now().UnixNano(), 10)); err != nil {
			panic(err)
		}
	}
	return seed.Value.String()
})

// stepsPerLayer is how many operations a layer has on average. There are more sequences in the same time if they are
// short, and a layer shows what its operations do to each other if they are few.
const stepsPerLayer = "15"

// shrinkTime bounds how long a failing sequence is made shorter.
const shrinkTime = 3 * time.Minute

// refusedRename is what aufs says of a directory of several layers, once.
const refusedRename = "renaming dir who has child(ren) on multiple branches"

// TestDifferential compares random sequences of operations with a plain directory. -rapid.checks, or RAPID_CHECKS in the
// environment, says how many; -rapid.seed, or RAPID_SEED, from where on. What a failure prints at its end is a regression case for
// testdata/differential.
func TestDifferential(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		if name == backendAufs {
			// Renaming a directory of several layers is one thing that aufs says something about.
			t.Cleanup(wire.ExpectMessages(refusedRename))
		}
		seed := seedOnce()
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
		// Package rapid draws, and nothing fails in it: scripts are made shorter by package differential, which knows what
		// they are.
		rapid.Check(t, func(rt *rapid.T) {
			if failed != nil {
				return
			}
			scratch := t.TempDir()
			defer os.RemoveAll(scratch)
			script := differential.Draw(rt, scratch)
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
		if fs := fsName(t.TempDir()); counts.CopiedUpFirst > 0 && fs != "xfs" && fs != "btrfs" {
			t.Errorf("%s shares no blocks, and %d files could not be truncated", fs, counts.CopiedUpFirst)
		}
		t.Logf("from seed %s on, %d sequences: %+v", seed, sequences, counts)
	})
}

// TestDifferentialRegressions runs sequences that once showed a difference.
func TestDifferentialRegressions(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		if name == backendAufs {
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
