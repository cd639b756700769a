//go:build linux && (amd64 || arm64)

package drivertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/faults"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// killed kills the operation at its steps. Afterwards, a new driver must find each layer as before the operation or as after it, and leave
// nothing else.
func (tr *trial) killed(t *testing.T) {
	if tr.op.splits && tr.backend == backend.Aufs {
		// A reboot ends the mount of aufs.
		t.Cleanup(wire.ExpectMessages(unflushed))
	}
	var all []kill
	for n, call := range tr.steps {
		if !call.Opens {
			all = append(all, kill{n, false}, kill{n, true})
		}
	}
	if reads := tr.op.reads == tr.backend; reads && len(all) > 0 {
		t.Fatalf("the operation is to change nothing, and makes these calls: %v", tr.steps)
	} else if reads {
		return
	}
	if len(all) == 0 {
		t.Fatal("the operation has no step at which it could be killed")
	}
	killed := 0
	tried := some(t, all)
	for _, k := range tried {
		if tr.kill(t, k) {
			killed++
		}
		if t.Failed() {
			t.Fatalf("killed at step %d of %d, %v, reboot: %v", k.step, len(tr.steps), tr.steps[k.step], k.reboot)
		}
	}
	t.Logf("killed %d times, in %d ways of %d", killed, len(tried), len(all))
}

// kill is a point at which an operation is killed.
type kill struct {
	step int
	// reboot says that all mounts are gone afterwards.
	reboot bool
}

// kill reports whether the operation got as far as the step of k. An operation need not make the same calls each time.
func (tr *trial) kill(t *testing.T, k kill) (killed bool) {
	t.Helper()
	home := tr.copyStore(t)
	_, killed = tr.child(t, home, runOnce, func(call faults.Call) faults.Verdict {
		if call.N == k.step {
			return faults.Kill
		}
		return faults.Continue
	})
	if k.reboot {
		unmountLazily(t, home)
	}
	shown := tr.look(t, home)
	tr.compare(t, shown, k.reboot)
	if done := tr.isDone(shown); tr.op.again || !done && !tr.op.splits && tr.op.prepare == nil {
		s, err := reopen(home, tr.backend)
		must(t, err)
		if tr.op.run != nil {
			must(t, tr.op.run(t, s))
		}
		must(t, s.Cleanup())
		tr.isAfter(t, home)
	}
	if !t.Failed() {
		must(t, os.RemoveAll(filepath.Dir(home)))
	}
	return killed
}

// isDone reports whether all layers are as after the operation.
func (tr *trial) isDone(shown layerTrees) bool {
	for id, want := range tr.after {
		if !sameAs(shown[id], want) {
			return false
		}
	}
	return len(shown) == len(tr.after)
}

// compare fails the test unless each layer is as before the operation or as after it, and there is no other layer.
func (tr *trial) compare(t *testing.T, shown layerTrees, reboot bool) {
	t.Helper()
	for id, got := range shown {
		before, after := tr.before[id], tr.after[id]
		switch {
		case before == nil && after == nil:
			t.Errorf("there is a layer %s", id)
		case tr.op.splits && reboot && tr.backend == backend.Aufs && id == "child":
			tr.compareSplit(t, got, after)
		case before != nil && sameAs(got, before), after != nil && sameAs(got, after):
		default:
			t.Errorf("layer %s is neither as before nor as after", id)
			if after == nil {
				after = before
			}
			sameTree(t, got, after)
		}
	}
	for id := range tr.before {
		if tr.after[id] != nil && shown[id] == nil {
			t.Errorf("layer %s is lost", id)
		}
	}
}

// compareSplit compares the one layer whose hard links aufs has forgotten. f and its other names need not be one file any more, and the
// other names may have their old content. All else must be as after the operation.
func (tr *trial) compareSplit(t *testing.T, got, after tree) {
	t.Helper()
	old := tr.before["middle"]
	links := map[string]bool{"f": true, "link": true, "x/link": true}
	for path, want := range after {
		content := func(node string) string { node, _, _ = strings.Cut(node, " links "); return node }
		if got[path] != want && !(links[path] && (content(got[path]) == content(want) || content(got[path]) == content(old[path]))) {
			t.Errorf("%s:\n got  %q\n want %q", path, got[path], want)
		}
	}
	if len(got) != len(after) {
		t.Errorf("%q\n want %q", got.Names(), after.Names())
	}
}

func sameAs(a, b tree) bool {
	if len(a) != len(b) {
		return false
	}
	for path, node := range a {
		if b[path] != node {
			return false
		}
	}
	return true
}

// unmountLazily takes all mounts below dir and on dir out of this mount namespace, as a reboot does.
func unmountLazily(t *testing.T, dir string) {
	t.Helper()
	mounts, err := mountutil.MountsUnder(dir)
	must(t, err)
	for _, m := range mounts {
		must(t, unix.Unmount(m.Mountpoint, unix.MNT_DETACH))
	}
	for {
		mounted, err := mountutil.IsMounted(dir)
		must(t, err)
		if !mounted {
			return
		}
		must(t, unix.Unmount(dir, unix.MNT_DETACH))
	}
}
