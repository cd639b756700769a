//go:build linux && (amd64 || arm64)

package drivertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/faults"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// callFails has a system call of the operation fail. The operation must report this or do without the call, and it must succeed when the
// same driver runs it once more.
func (tr *trial) callFails(t *testing.T) {
	if tr.op.name == "init" && tr.backend == backend.Aufs {
		// If the driver cannot look at /dev/shm, it tries the store's file system, which may be unfit: aufs takes no xino file on xfs.
		t.Cleanup(wire.ExpectMessages("xino doesn't support"))
	}
	var all []failure
	for n, call := range tr.steps {
		for _, errno := range failuresOf(call) {
			all = append(all, failure{n, errno})
		}
	}
	failed := 0
	tried := some(t, all)
	for _, f := range tried {
		if tr.fail(t, f) {
			failed++
		}
		if t.Failed() {
			t.Fatalf("%v of step %d of %d, %v", f.errno, f.step, len(tr.steps), tr.steps[f.step])
		}
	}
	t.Logf("calls failed in %d ways of %d; the operation failed %d times", len(tried), len(all), failed)
}

// failure is the failure of one call of an operation.
type failure struct {
	step  int
	errno unix.Errno
}

// failuresOf returns the errors that a call is tried with.
func failuresOf(call faults.Call) []unix.Errno {
	switch {
	case call.Opens:
		return []unix.Errno{unix.EMFILE, unix.EIO}
	case strings.Contains(call.Name, "mount"), strings.HasPrefix(call.Name, "fs"), call.Name == "unlinkat":
		return []unix.Errno{unix.EIO, unix.EROFS}
	default:
		return []unix.Errno{unix.ENOSPC, unix.EIO, unix.EROFS}
	}
}

// fail reports whether the operation failed.
func (tr *trial) fail(t *testing.T, f failure) (failed bool) {
	t.Helper()
	home := tr.copyStore(t)
	said, _ := tr.child(t, home, runTwice, func(call faults.Call) faults.Verdict {
		if call.N == f.step {
			return faults.Fail(f.errno)
		}
		return faults.Continue
	})
	tr.isAfter(t, home)
	if t.Failed() {
		fmt.Println(said)
	} else {
		must(t, os.RemoveAll(filepath.Dir(home)))
	}
	return strings.Contains(said, "failed:")
}

// TestApplyDiffWithoutChroot has a process whose threads may not change their root directory. The process runs a child, which changes its
// own root directory in whichever way the library does that.
func TestApplyDiffWithoutChroot(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		tr := newTrial(t, operationNamed("apply"), name)
		home, refused, changed := tr.copyStore(t), false, 0
		tr.child(t, home, runOnce, func(call faults.Call) faults.Verdict {
			switch {
			case call.Name == "chroot" && !refused:
				refused = true
				return faults.Fail(unix.EPERM)
			case call.Name == "chroot", call.Name == "pivot_root":
				changed++
			}
			return faults.Continue
		})
		if !refused || changed == 0 {
			t.Errorf("chroot(2) was refused: %v; after that the root directory was changed %d times", refused, changed)
		}
		tr.isAfter(t, home)
	})
}

// TestApplyDiffIgnoresChown applies an archive where nobody may give files to their owners, as where there is only one user. ApplyDiff is
// told to ignore that.
func TestApplyDiffIgnoresChown(t *testing.T) {
	for _, operation := range []string{"apply-ignoring-chown", "apply-ignoring-chown-by-option"} {
		t.Run(operation, func(t *testing.T) { ignoresChown(t, operation) })
	}
}

func ignoresChown(t *testing.T, operation string) {
	t.Helper()
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		tr := newTrial(t, operationNamed(operation), name)
		home, refused := tr.copyStore(t), 0
		said, _ := tr.child(t, home, runOnce, func(call faults.Call) faults.Verdict {
			if strings.Contains(call.Name, "chown") && !strings.HasPrefix(call.Paths[0], home) {
				refused++
				return faults.Fail(unix.EPERM)
			}
			return faults.Continue
		})
		if refused != 2 || strings.Contains(said, "gnoring") {
			t.Errorf("%d calls failed, and it said %q", refused, said)
		}
		for path, owner := range map[string]string{"f": " 7:0 ", "d": " 0:7"} {
			want := tr.after["new"]
			if !strings.Contains(want[path], owner) {
				t.Errorf("%s is %q", path, want[path])
			}
			want[path] = strings.Replace(want[path], owner, strings.ReplaceAll(owner, "7", "0"), 1)
		}
		tr.isAfter(t, home)
	})
}
