//go:build linux && (amd64 || arm64)

package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/faults"
	"golang.org/x/sys/unix"
)

// oldCalls are system calls that a filter may forbid because containers are not to make them.
var oldCalls = map[string]uintptr{"unshare": unix.SYS_UNSHARE, "chroot": unix.SYS_CHROOT}

// newCalls stands for all of faults.NewCalls.
const newCalls = "new calls"

// numbersOf returns the number of a call, or the numbers of all calls that newCalls stands for.
func numbersOf(call string) []uintptr {
	if call == newCalls {
		return slices.Collect(maps.Values(faults.NewCalls))
	}
	if number, ok := oldCalls[call]; ok {
		return []uintptr{number}
	}
	return []uintptr{faults.NewCalls[call]}
}

// mayFail reports whether the operation may have no way to do without the call. Giving an archive its own root directory takes unshare(2),
// and chroot(2) where pivot_root(2) is not available. There is no older way to shift owners.
func mayFail(call string, op operation) bool {
	if op.name == "get-shifted" {
		return slices.Contains([]string{"open_tree", "mount_setattr", "move_mount", newCalls}, call)
	}
	return (call == "unshare" || call == "chroot") &&
		slices.Contains([]string{"apply", "apply-below", "apply-ignoring-chown", "apply-ignoring-chown-by-option", "apply-staged-layer"}, op.name)
}

// namedLayer returns the layer that an error of the operation has to name. While a layer is staged, it has no name yet, but its parent has.
func namedLayer(op operation) string {
	switch op.name {
	case "apply-staged-layer":
		return "layer middle"
	case "get-shifted":
		return "layer child"
	}
	return "layer new"
}

// namedCall returns the call that an error has to name.
func namedCall(call string) string {
	if call == newCalls {
		return "open_tree"
	}
	return call
}

// concerns reports whether to try the operation without the call. A long stack takes long, so get-long is tried only without the calls that
// can matter to it.
func concerns(call string, op operation) bool {
	return op.name != "get-long" || call == "statx" || call == newCalls || strings.HasPrefix(call, "fs") || call == "move_mount"
}

// TestDeniedCalls has system calls fail in each operation: one at a time, as many as stepsVariable says, and then all of newCalls. The
// operation takes an older way with the same result, or it changes nothing and returns an error that names the call and the layer.
func TestDeniedCalls(t *testing.T) {
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 4 {
		asDenied(t, args[0], backend.Name(args[1]), args[2], args[3])
		return
	}
	if os.Getuid() != 0 {
		t.Skip("a filter takes root")
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		// On a kernel without quotas, only the operations with quotas are skipped.
		t.Run("without quotas", func(t *testing.T) { deniedToAll(t, name, false) })
		t.Run("with quotas", func(t *testing.T) { deniedToAll(t, name, true) })
	})
}

// deniedToAll has system calls fail in all operations that have quotas, or in all that have none.
func deniedToAll(t *testing.T, name backend.Name, quotas bool) {
	t.Helper()
	var trials []*trial
	for _, op := range operations {
		if op.quotas == quotas && op.runsOn(t, name) {
			trials = append(trials, newTrial(t, op, name))
		}
	}
	for _, call := range some(t, slices.Concat(slices.Sorted(maps.Keys(faults.NewCalls)), slices.Sorted(maps.Keys(oldCalls)))) {
		t.Run(call+" EPERM", func(t *testing.T) { denied(t, trials, call, unix.EPERM) })
	}
	for _, call := range append(some(t, []string{"unshare", "chroot"}), newCalls) {
		t.Run(call+" ENOSYS", func(t *testing.T) { denied(t, trials, call, unix.ENOSYS) })
	}
}

// denied runs the operations of trials without a call.
func denied(t *testing.T, trials []*trial, call string, errno unix.Errno) {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(trials[0].template), "denied-")
	must(t, err)
	trials = slices.DeleteFunc(slices.Clone(trials), func(tr *trial) bool { return !concerns(call, tr.op) })
	for _, tr := range trials {
		// Layers can have quotas only on the disk of the operation's own template.
		beside, err := os.MkdirTemp(filepath.Dir(tr.template), "denied-")
		must(t, err)
		must(t, os.Symlink(beside, filepath.Join(dir, tr.op.name)))
		copyStoreTo(t, tr.template, deniedHome(t, dir, tr.op))
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestDeniedCalls$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%s|%d", childVariable, dir, trials[0].backend, call, int(errno)))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "--- PASS: TestDeniedCalls") {
		t.Errorf("%v\n%s", err, out.String())
	}
	// Without open_tree(2), home itself stays mounted.
	left, err := reopen(filepath.Join(dir, "in-use"), trials[0].backend)
	must(t, err)
	must(t, left.Cleanup())
	noMounts(t, string(left.inner.Home))
	for _, tr := range trials {
		want := tr.after
		said, err := os.ReadFile(filepath.Join(dir, tr.op.name, "failed"))
		if err == nil {
			t.Logf("%s: %s", tr.op.name, said)
			want = tr.before
			if !mayFail(call, tr.op) || !strings.Contains(string(said), namedCall(call)) || !strings.Contains(string(said), namedLayer(tr.op)) {
				t.Errorf("%s: %s", tr.op.name, said)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		shown := tr.show(t, deniedHome(t, dir, tr.op), "ro")
		for id := range shown {
			sameTree(t, shown[id], want[id])
		}
		if len(shown) != len(want) {
			t.Errorf("%s: there are %d layers, and not %d", tr.op.name, len(shown), len(want))
		}
	}
}

// deniedHome returns the path of the operation's store. The symbolic link dir/<operation> leads to the store's parent directory.
func deniedHome(t *testing.T, dir string, op operation) string {
	t.Helper()
	parent, err := filepath.EvalSymlinks(filepath.Join(dir, op.name))
	must(t, err)
	return filepath.Join(parent, "home")
}

// asDenied runs in the process that cannot make the call. If an operation fails, asDenied writes the error to the directory of the
// operation's store.
func asDenied(t *testing.T, dir string, name backend.Name, call, errno string) {
	t.Helper()
	number, err := strconv.Atoi(errno)
	must(t, err)
	for _, denied := range numbersOf(call) {
		must(t, faults.Deny(denied, unix.Errno(number)))
	}
	t.Run("mount in use", func(t *testing.T) { mountInUse(t, filepath.Join(dir, "in-use"), name) })
	t.Run("rename", func(t *testing.T) { renameInDeepTree(t) })
	if name == backend.Overlay {
		t.Run("overlay mount", mountsTriedOut)
	}
	for _, op := range operations {
		if _, err := os.Lstat(filepath.Join(dir, op.name)); err != nil {
			continue
		}
		home := deniedHome(t, dir, op)
		t.Run(op.name, func(t *testing.T) {
			s, err := reopen(home, name)
			must(t, err)
			if op.prepare != nil {
				op.prepare(t, s)
			}
			if op.run == nil {
				return
			}
			if err := op.run(t, s); err != nil {
				must(t, os.WriteFile(filepath.Join(dir, op.name, "failed"), []byte(err.Error()), 0o600))
			}
		})
	}
}

// mountInUse shows that the error for a mount in use names the user.
func mountInUse(t *testing.T, home string, name backend.Name) {
	t.Helper()
	s, err := reopen(home, name)
	must(t, err)
	s.create(t, "", "base", "child")
	f, err := os.Create(filepath.Join(s.get(t, "child"), "f"))
	must(t, err)
	wants(t, s.Put("child"), unix.EBUSY, "child", strconv.Itoa(os.Getpid()), f.Name())
	must(t, f.Close())
	must(t, s.Put("child"))
	must(t, s.Cleanup())
	noMountsBelow(t, home)
}

// renameInDeepTree renames directories as the removal of a deep tree does.
func renameInDeepTree(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files{"a/b/f": "", "taken/": ""})
	from, err := fsutil.OpenReal(filepath.Join(dir, "a"))
	must(t, err)
	defer from.Close()
	to, err := fsutil.OpenReal(dir)
	must(t, err)
	defer to.Close()
	wants(t, from.RenameNew("b", to, "taken"), unix.EEXIST)
	must(t, from.RenameNew("b", to, "new"))
	sameNames(t, readTree(t, dir).Names(), "a", "new", "new/f", "taken")
}

// mountsTriedOut makes an overlay mount for which Mount prefers the calls that take one directory at a time, and trial mounts.
func mountsTriedOut(t *testing.T) {
	dir := t.TempDir()
	// Because of the comma, the data of mount(2) cannot name this directory.
	write(t, dir, files{"mnt/": "", "low,er/f": "", "upper/": "", "work/": ""})
	in := func(name string) string { return filepath.Join(dir, name) }
	m := overlayfs.Mount{Target: in("mnt"), Lowers: []string{in("low,er")}, Upper: in("upper"), Work: in("work"), Index: true}
	must(t, m.Try())
	sameNames(t, readTree(t, m.Target).Names())
	must(t, m.Mount())
	sameNames(t, readTree(t, m.Target).Names(), "f")
	if used, err := inuse.TrialAnswer(m.Try()); err != nil || !used {
		t.Errorf("it is in use, and the trial mount says %v, %v", used, err)
	}
	must(t, mountutil.UnmountRetry(m.Target))
}
