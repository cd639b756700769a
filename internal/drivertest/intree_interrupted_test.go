//go:build linux && (amd64 || arm64)

package drivertest

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/faults"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// TestInterrupted asks no small thing of this driver. Here the in-tree driver is put to the same test, and fails. This shows that such
// tests can fail, and what the users of that driver have met.

// harm is what an interrupted operation has done to a store.
type harm string

const (
	noHarm harm = "nothing"
	// lostLayer: a layer that was there before, and is to be there afterwards, is not in the store or cannot be mounted.
	lostLayer harm = "a layer is lost, or cannot be mounted"
	// halfDone: a layer is neither as before the operation nor as after it.
	halfDone harm = "a layer is half done"
	// leftBehind: some directories belong to no layer, and nothing removes them.
	leftBehind harm = "files of no layer are left"
)

// TestInTreeInterrupted kills the in-tree driver's operations, and has their calls fail with ENOSPC, at eleven steps at most, or at each step
// if stepsVariable says "all". It also has the power go off after one operation.
func TestInTreeInterrupted(t *testing.T) {
	if os.Getenv(stepsVariable) == "0" {
		t.Skip("none was asked for")
	}
	faults.Need(t)
	onAufs(t, func(t *testing.T) {
		if name := fsName(t.TempDir()); name == "btrfs" {
			t.Skipf("the in-tree driver does not take %s", name)
		}
		t.Cleanup(wire.ExpectMessages(unflushed))
		image := archiveBytes(t, newLayer...)
		for _, c := range []struct {
			op    string
			args  []string
			stdin []byte
			// finds is the harm that the test must find at some step.
			finds harm
		}{
			{"create", []string{"create", "new", "middle"}, nil, leftBehind},
			{"remove", []string{"remove", "child"}, nil, leftBehind},
			{"apply", []string{"apply", "empty", "middle"}, image, halfDone},
			{"mount and unmount", []string{"run", "child", "--", "/bin/true"}, nil, noHarm},
			{"diff", []string{"diff", "child", "middle"}, nil, noHarm},
			{"cleanup", []string{"cleanup"}, nil, noHarm},
		} {
			t.Run(c.op, func(t *testing.T) {
				tr := newOldTrial(t, c.args, c.stdin)
				found := map[harm]int{}
				stride := 1
				if os.Getenv(stepsVariable) != "all" {
					stride = max(1, len(tr.steps)/6)
				}
				failed := map[harm]int{}
				for step := 0; step < len(tr.steps); step += stride {
					found[tr.interrupt(t, step, faults.Kill)]++
					failed[tr.interrupt(t, step, faults.Fail(unix.ENOSPC))]++
				}
				t.Logf("killed at one step in %d, of %d: %v; ENOSPC: %v", stride, len(tr.steps), found, failed)
				if found[c.finds] == 0 {
					t.Errorf("at no step it is found that %s: %v", c.finds, found)
				}
			})
		}
		t.Run("power cut", func(t *testing.T) {
			tr := newOldTrial(t, []string{"apply", "empty", "middle"}, image)
			d := newDisk(t)
			old := inTree(tr.program, filepath.Join(d.dir, "home"))
			copyStoreTo(t, tr.template, old.Home)
			d.sync(t)
			tr.run(t, old, func(faults.Call) faults.Verdict { return faults.Continue })
			cut := d.copy(t)
			unmountLazily(t, old.Home)
			d.unmount(t)
			cut.mount(t)
			got := tr.harm(t, inTree(tr.program, filepath.Join(cut.dir, "home")), true)
			unmountLazily(t, cut.dir)
			if got == noHarm {
				t.Error("what was unpacked is on the disk")
			}
			t.Logf("the power goes off when ApplyDiff has returned: %s", got)
		})
	})
}

// oldTrial is a test of one operation of the in-tree driver.
type oldTrial struct {
	program, template string
	args              []string
	stdin             []byte
	// before and after are what layers show without the operation and after it.
	before, after map[string]string
	steps         []faults.Call
}

func newOldTrial(t *testing.T, args []string, stdin []byte) *oldTrial {
	t.Helper()
	old := newIntree(t, filepath.Join(t.TempDir(), "home"))
	for _, layer := range [][]string{{"base", ""}, {"middle", "base"}, {"child", "middle"}, {"empty", "middle"}} {
		old.Run(t, nil, append([]string{"create"}, layer...)...)
	}
	old.Run(t, archiveOf(t, entry{Name: "f", Content: "f"}, entry{Name: "d/"}, entry{Name: "d/f", Content: "df"}), "apply", "base", "")
	old.Run(t, archiveOf(t, entry{Name: "new", Content: "new"}, entry{Name: "e/"}), "apply", "middle", "base")
	old.Run(t, nil, "run", "child", "--", "/bin/sh", "-c", "echo mine > mine; rm new")
	old.Run(t, nil, "cleanup")
	tr := &oldTrial{program: old.Path, template: old.Home, args: args, stdin: stdin}
	tr.before = tr.look(t, old)
	done := inTree(tr.program, copyOfStore(t, tr.template))
	tr.run(t, done, func(call faults.Call) faults.Verdict {
		tr.steps = append(tr.steps, call)
		return faults.Continue
	})
	tr.after = tr.look(t, done)
	return tr
}

// run runs the operation, and reports whether the operation said that it succeeded.
func (tr *oldTrial) run(t *testing.T, old intree, decide func(faults.Call) faults.Verdict) (done bool) {
	t.Helper()
	cmd := exec.Command(tr.program, append([]string{"-home", old.Home}, tr.args...)...)
	cmd.Stdin = bytes.NewReader(tr.stdin)
	interrupted := false
	err := faults.Run(cmd, func(call faults.Call) faults.Verdict {
		verdict := decide(call)
		interrupted = interrupted || verdict != faults.Continue
		return verdict
	})
	if !interrupted {
		must(t, err)
	}
	return err == nil
}

// interrupt interrupts the operation at a step, and returns the harm that this has done.
func (tr *oldTrial) interrupt(t *testing.T, step int, verdict faults.Verdict) harm {
	t.Helper()
	old := inTree(tr.program, copyOfStore(t, tr.template))
	done := tr.run(t, old, func(call faults.Call) faults.Verdict {
		if call.N == step {
			return verdict
		}
		return faults.Continue
	})
	got := tr.harm(t, old, done)
	unmountLazily(t, old.Home)
	must(t, os.RemoveAll(filepath.Dir(old.Home)))
	return got
}

// look returns what each layer shows, or "" for a layer that cannot be mounted.
func (tr *oldTrial) look(t *testing.T, old intree) map[string]string {
	t.Helper()
	shown := map[string]string{}
	for _, id := range strings.Fields(old.Run(t, nil, "list")) {
		var exit *exec.ExitError
		out, err := exec.Command(old.Path, "-home", old.Home, "tree", id).Output()
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if err != nil {
			out = nil
		}
		shown[id] = string(out)
	}
	old.Run(t, nil, "cleanup")
	return shown
}

// harm returns the worst harm in the store. done says that the operation has succeeded.
func (tr *oldTrial) harm(t *testing.T, old intree, done bool) harm {
	t.Helper()
	shown := tr.look(t, old)
	ids := maps.Clone(tr.before)
	maps.Copy(ids, tr.after)
	maps.Copy(ids, shown)
	worst := noHarm
	for id := range ids {
		got, there := shown[id]
		before, wasThere := tr.before[id]
		after, isToBe := tr.after[id]
		switch {
		case there && got == "", !there && wasThere && isToBe, done && isToBe && !there:
			return lostLayer
		case done && got != after, got != before && got != after:
			worst = halfDone
		}
	}
	for _, part := range []string{store.DiffDir, store.MntDir} {
		entries, err := os.ReadDir(filepath.Join(old.Home, part))
		must(t, err)
		for _, entry := range entries {
			if _, there := shown[entry.Name()]; !there && worst == noHarm {
				worst = leftBehind
			}
		}
	}
	return worst
}
