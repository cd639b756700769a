//go:build linux && (amd64 || arm64)

package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/faults"
)

// Tests run these operations of the driver in processes of their own, and interrupt them at their steps: the system calls that would change
// or open something. stepsVariable says at how many.

func init() { faults.Launch() }

// An operation is what the tests interrupt.
type operation struct {
	name string
	// build makes the store that the operation begins with.
	build func(t *testing.T, s testStore)
	// prepare runs before the operation in the same process, and is not interrupted.
	prepare func(t *testing.T, s testStore)
	// run is nil for Init.
	run func(t *testing.T, s testStore) error
	// again says that the operation can run again even if it is already done.
	again bool
	// only is the one backend that has the operation, or "" if both have it.
	only backend.Name
	// splits says that some names in the layer child are one file, and that only aufs knows it until the operation is done. A reboot before
	// that makes them separate files.
	splits bool
	// ignores says that a failed call changes the result, as the caller asks for: see TestApplyDiffIgnoresChown.
	ignores bool
	// quotas says that the layer new has a quota when the operation is done.
	quotas bool
	// shifts says that the operation shifts owners, which not every file system allows.
	shifts bool
	// reads is a backend on which the operation changes nothing, so that no kill can cut it short.
	reads backend.Name
}

var operations = []operation{
	{name: "create", build: threeLayers, run: create("new", "middle")},
	{
		name: "create-limited", quotas: true, build: threeLayers,
		run: func(_ *testing.T, s testStore) error {
			return s.CreateReadWrite("new", "middle", layerOptions("size=1M", "inodes=100"))
		},
	},
	{
		name: "get-limited", quotas: true, build: threeLayers, again: true,
		// A copy of a store has no projects.
		prepare: func(t *testing.T, s testStore) { s.limited(t, "new", "size=1M", "inodes=100") },
		run: func(_ *testing.T, s testStore) error {
			if _, err := s.Get("new", driver.GetOptions{}); err != nil {
				return err
			}
			return s.Put("new")
		},
	},
	{name: "create-base", build: threeLayers, run: create("new", "")},
	{
		name: "create-over-rubbish", run: create("gone", "middle"),
		build: func(t *testing.T, s testStore) { threeLayers(t, s); rubbish(t, s) },
	},
	{name: "remove", build: childEdited, again: true, run: remove},
	{name: "remove-mounted", build: childEdited, prepare: mountChild, again: true, run: remove},
	{
		name: "deferred-remove", build: childEdited, again: true,
		run: func(_ *testing.T, s testStore) error {
			clean, err := s.DeferredRemove("child")
			if err != nil {
				return err
			}
			return clean()
		},
	},
	{
		name: "apply", build: func(t *testing.T, s testStore) { threeLayers(t, s); s.create(t, "middle", "new") },
		run: func(t *testing.T, s testStore) error {
			_, err := s.ApplyDiff("new", "middle", driver.ApplyOptions{Diff: archiveOf(t, newLayer...)})
			return err
		},
	},
	{
		name: "apply-ignoring-chown", ignores: true, build: func(t *testing.T, s testStore) { threeLayers(t, s); s.create(t, "middle", "new") },
		run: func(t *testing.T, s testStore) error { return applyOthers(t, s, true) },
	},
	{
		name: "apply-ignoring-chown-by-option", ignores: true, build: func(t *testing.T, s testStore) { threeLayers(t, s); s.create(t, "middle", "new") },
		run: func(t *testing.T, s testStore) error {
			s.inner.IgnoreChownErrors = true
			return applyOthers(t, s, false)
		},
	},
	{
		name: "apply-staged", build: func(t *testing.T, s testStore) { threeLayers(t, s); s.create(t, "middle", "new") },
		run: func(t *testing.T, s testStore) error {
			out, err := s.tryToStage(filling{content: archiveBytes(t, newLayer...)})
			if err != nil {
				return err
			}
			return s.ApplyStaged("new", "middle", out, false)
		},
	},
	{
		name: "apply-staged-layer", build: func(t *testing.T, s testStore) { threeLayers(t, s); s.create(t, "middle", "new") },
		run: func(t *testing.T, s testStore) error {
			_, err := s.applyStagedLayer("new", "middle", driver.ApplyOptions{Diff: archiveOf(t, newLayer...)})
			return err
		},
	},
	{name: "get", build: childEdited, again: true, run: get("child")},
	{
		name: "get-volatile", build: childEdited, again: true,
		run: func(_ *testing.T, s testStore) error {
			_, err := s.Get("child", driver.GetOptions{Volatile: true})
			return err
		},
	},
	{
		// The first such mount records the maps.
		name: "get-shifted", build: threeLayers, again: true, only: backend.Overlay, shifts: true,
		run: func(_ *testing.T, s testStore) error {
			_, err := s.tryShifted("child", twoRanges)
			return err
		},
	},
	{name: "get-long", build: longStack, again: true, run: get("child"), only: backend.Aufs},
	{
		name: "get-base", build: threeLayers, again: true,
		run: func(_ *testing.T, s testStore) error {
			_, err := s.Get("base", driver.GetOptions{Options: []string{"ro", "nodev"}})
			return err
		},
	},
	{
		name: "put-base", build: threeLayers, prepare: func(t *testing.T, s testStore) { s.get(t, "base", "ro", "nodev") }, again: true,
		run: func(_ *testing.T, s testStore) error { return s.Put("base") },
	},
	{name: "put", build: threeLayers, prepare: editChild, splits: true, run: func(_ *testing.T, s testStore) error { return s.Put("child") }},
	{name: "diff-mounted", build: threeLayers, prepare: editChild, splits: true, reads: backend.Overlay, run: diff},
	{
		name: "changes-mounted", build: threeLayers, prepare: editChild, splits: true, reads: backend.Overlay,
		run: func(_ *testing.T, s testStore) error {
			_, err := s.Changes("child", nil, "middle", nil)
			return err
		},
	},
	{
		name: "cleanup", build: childEdited, again: true, prepare: func(t *testing.T, s testStore) { mountChild(t, s); s.get(t, "middle", "ro") },
		run: func(_ *testing.T, s testStore) error { return s.Cleanup() },
	},
	{name: "init", build: func(t *testing.T, s testStore) { childEdited(t, s); rubbish(t, s) }, again: true},
}

func create(id, parent string) func(*testing.T, testStore) error {
	return func(_ *testing.T, s testStore) error { return s.Create(id, parent, nil) }
}

func get(id string) func(*testing.T, testStore) error {
	return func(_ *testing.T, s testStore) error {
		_, err := s.Get(id, driver.GetOptions{})
		return err
	}
}

func remove(_ *testing.T, s testStore) error { return s.Remove("child") }

// diff reads the archive of child. It fails the test if the archive lacks something and Diff reported no error.
func diff(t *testing.T, s testStore) error {
	archive, err := s.Diff("child", nil, "middle", nil)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(archive)
	if err = errors.Join(err, archive.Close()); err != nil {
		return err
	}
	got := keysOf(readArchive(t, bytes.NewReader(content)))
	for _, name := range []string{"mine", "d/", "d/.wh..wh..opq", "d/again", "new-dir/", "new-dir/f", ".wh.new", "f"} {
		if !slices.Contains(got, name) {
			t.Errorf("the archive lacks %s, and there was no error", name)
		}
	}
	return nil
}

func mountChild(t *testing.T, s testStore) { t.Helper(); s.get(t, "child") }

// editChild mounts the layer child and changes it.
func editChild(t *testing.T, s testStore) { t.Helper(); edit(t, s.get(t, "child")) }

func childEdited(t *testing.T, s testStore) {
	t.Helper()
	threeLayers(t, s)
	s.change(t, "child", func(dir string) { edit(t, dir) })
}

func edit(t *testing.T, dir string) {
	t.Helper()
	write(t, dir, files{"mine": "mine", "d/mine": "mine", "new-dir/f": "f"})
	must(t, os.Remove(filepath.Join(dir, "new")))
	must(t, os.RemoveAll(filepath.Join(dir, "d")))
	write(t, dir, files{"d/again": "again"})
	writeThrough(t, filepath.Join(dir, "f"), "new")
	then := time.Unix(1_000_000_000, 0)
	for _, name := range []string{"mine", "new-dir/f", "d/again", "f"} {
		must(t, os.Chtimes(filepath.Join(dir, name), then, then))
	}
}

// longPrefix begins the ids of all layers of a long stack except the top.
const longPrefix = "long"

// applyOthers applies an archive of files that belong to others than root to the layer new.
func applyOthers(t *testing.T, s testStore, ignore bool) error {
	archive := bytes.NewReader(packed(t, member{Name: "f", Typeflag: '0', Uid: 7}, member{Name: "d/", Typeflag: '5', Gid: 7}))
	_, err := s.ApplyDiff("new", "middle", driver.ApplyOptions{Diff: archive, IgnoreChownErrors: ignore})
	return err
}

// longStack makes a stack that takes several calls to mount.
func longStack(t *testing.T, s testStore) {
	t.Helper()
	parent := ""
	for n := range aufsfs.MaxOptionsPerCall + 10 {
		id := longPrefix + strconv.Itoa(n)
		s.create(t, parent, id)
		s.apply(t, id, parent, entry{Name: id, Content: id})
		parent = id
	}
	s.create(t, parent, "child")
}

// rubbish makes what interrupted operations leave.
func rubbish(t *testing.T, s testStore) {
	t.Helper()
	write(t, string(s.inner.Home), files{
		"tmp/trash-1/1/f": "f", "tmp/trash-1/0/": "", "tmp/file-2": "half a fi", "diff/gone/d/f": "f", "mnt/gone/": "", "overlay/lock/gone": "",
		"overlay/watch/gone/upper/f": "f", "overlay/form/gone": "trusted", "overlay/shadow/gone/digest/above/.wh.f": "", "overlay/known/aufs/gone": "",
	})
}

// These constants say what the process of an operation does.
const (
	// prepareOnly leaves out the operation.
	prepareOnly = "prepare"
	runOnce     = "run"
	// runTwice runs the operation once more if it has failed.
	runTwice = "twice"
)

// asOperation is the body of the process of an operation.
func asOperation(t *testing.T, home string, name backend.Name, opName, how string) {
	t.Helper()
	op := operationNamed(opName)
	interrupted := func(run func() error) {
		faults.Tell(faults.Begin)
		err := run()
		faults.Tell(faults.End)
		if err != nil && how == runTwice {
			fmt.Println("failed:", err)
			err = run()
		}
		must(t, err)
	}
	var s testStore
	open := func() (err error) {
		s, err = reopen(home, name)
		return err
	}
	if op.run == nil && how != prepareOnly {
		interrupted(open)
		return
	}
	must(t, open())
	if op.prepare != nil {
		op.prepare(t, s)
	}
	if op.run != nil && how != prepareOnly {
		interrupted(func() error { return op.run(t, s) })
	}
}

func operationNamed(name string) operation {
	return operations[slices.IndexFunc(operations, func(op operation) bool { return op.name == name })]
}

// layerTrees are the trees that the layers of a store show, by the layers' ids.
type layerTrees map[string]tree

// A trial is a test of one operation on one backend.
type trial struct {
	op      operation
	backend backend.Name
	// template is the store that the operation begins with.
	template string
	// before and after are what the layers show before the operation and after it.
	before, after layerTrees
	// steps are the system calls that the operation makes.
	steps []faults.Call
}

// runsOn reports whether the backend has the operation. For an operation that shifts owners, the file system of the tests has to allow that.
func (op operation) runsOn(t *testing.T, name backend.Name) bool {
	t.Helper()
	if op.only != "" && op.only != name {
		return false
	}
	if op.shifts && !newStore(t, name).SupportsShifting(nil) {
		t.Logf("%s is left out: mounts cannot shift owners here", op.name)
		return false
	}
	return true
}

// TestInterrupted interrupts each operation on each backend in three ways.
func TestInterrupted(t *testing.T) {
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 4 {
		asOperation(t, args[0], backend.Name(args[1]), args[2], args[3])
		return
	}
	if os.Getenv(stepsVariable) == "0" {
		t.Skip("none was asked for")
	}
	faults.Need(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil && os.Getuid() == 0 {
		t.Errorf("there are no loop devices, to have the power go off: %v", err)
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, op := range operations {
			if !op.runsOn(t, name) {
				continue
			}
			t.Run(op.name, func(t *testing.T) {
				tr := newTrial(t, op, name)
				t.Run("killed", tr.killed)
				if !op.ignores {
					t.Run("call fails", tr.callFails)
				}
				// Nothing promises that a container's writes survive a power cut. The operation get-long is slow, and a mount writes
				// nothing.
				if !op.splits && op.name != "get-long" {
					t.Run("power cut", tr.powerCut)
				}
			})
		}
	})
}

func newTrial(t *testing.T, op operation, name backend.Name) *trial {
	t.Helper()
	dir := t.TempDir
	if op.quotas {
		dir = func() string { return storetest.QuotaDir(t) }
	}
	tr := &trial{op: op, backend: name, template: filepath.Join(dir(), "home")}
	s := openStore(t, tr.template, name)
	op.build(t, s)
	must(t, s.Cleanup())
	before := tr.copyStore(t)
	tr.child(t, before, prepareOnly, nil)
	tr.before = tr.look(t, before)
	after := tr.copyStore(t)
	var record func(faults.Call) faults.Verdict
	if faults.Works() {
		record = func(call faults.Call) faults.Verdict {
			tr.steps = append(tr.steps, call)
			return faults.Continue
		}
	}
	tr.child(t, after, runOnce, record)
	tr.after = tr.look(t, after)
	return tr
}

// copyStore copies the store that the operation begins with.
func (tr *trial) copyStore(t *testing.T) string {
	t.Helper()
	return copyOfStore(t, tr.template)
}

// copyOfStore copies the store template, which must not be mounted, into a directory of its own.
func copyOfStore(t *testing.T, template string) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(template), "store-")
	must(t, err)
	home := filepath.Join(dir, "home")
	copyStoreTo(t, template, home)
	return home
}

func copyStoreTo(t *testing.T, template, home string) {
	t.Helper()
	copyDir(t, template, home)
}

// child runs the operation in a process of its own, and returns what the process printed. decide, unless it is nil, decides what becomes of its
// calls. It fails the test unless the process succeeds or is killed.
func (tr *trial) child(t *testing.T, home, how string, decide func(faults.Call) faults.Verdict) (said string, killed bool) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInterrupted$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%s|%s", childVariable, home, tr.backend, tr.op.name, how))
	cmd.Stdout, cmd.Stderr = &out, &out
	run := cmd.Run
	if decide != nil {
		faults.Need(t)
		run = func() error {
			return faults.Run(cmd, func(call faults.Call) faults.Verdict {
				verdict := decide(call)
				killed = killed || verdict == faults.Kill
				return verdict
			})
		}
	}
	err := run()
	if !killed && (err != nil || !strings.Contains(out.String(), "--- PASS: TestInterrupted")) {
		t.Errorf("the operation %s: %v\n%s", tr.op.name, err, out.String())
	}
	return out.String(), killed
}

// look opens the store at home with new drivers, checks that no leftovers are in it, and returns what its layers show.
func (tr *trial) look(t *testing.T, home string) layerTrees {
	t.Helper()
	// A layer that is still mounted keeps the layers below it from being converted.
	shown := tr.show(t, home, "ro")
	s, err := reopen(home, tr.backend)
	must(t, err)
	noLeftovers(t, s)
	if tr.op.quotas && s.Exists("new") {
		if got, _ := s.quotaOf(t, "new"); got != (quota.Limits{Bytes: 1 << 20, Inodes: 100}) {
			t.Errorf("the new layer has the limits %+v", got)
		}
	}
	for id := range shown {
		s.oneForm(t, id)
	}
	must(t, s.Cleanup())
	again := tr.show(t, home)
	for id, want := range shown {
		sameTree(t, again[id], want)
	}
	return shown
}

// show returns what the layers of the store at home show. It unmounts all of them.
func (tr *trial) show(t *testing.T, home string, options ...string) layerTrees {
	t.Helper()
	s, err := reopen(home, tr.backend)
	must(t, err)
	ids, err := s.ListLayers()
	must(t, err)
	shown := layerTrees{}
	for _, id := range ids {
		if strings.HasPrefix(id, longPrefix) {
			// The top of the long stack shows all of its layers.
			shown[id] = tree{}
			continue
		}
		shown[id] = s.see(t, id, options...)
	}
	must(t, s.Cleanup())
	noMounts(t, home)
	return shown
}

// isAfter fails the test unless the layers of the store at home show what they show after the operation.
func (tr *trial) isAfter(t *testing.T, home string) {
	t.Helper()
	shown := tr.look(t, home)
	for id, want := range tr.after {
		sameTree(t, shown[id], want)
	}
	for id := range shown {
		if tr.after[id] == nil {
			t.Errorf("there is a layer %s", id)
		}
	}
}

// stepsVariable is the environment variable that says how many interruptions of each operation the tests try, chosen at random: a number,
// or "all".
const stepsVariable = "AUFS_TEST_STEPS"

// fewSteps is the number of interruptions if stepsVariable is not set.
const fewSteps = 2

// some returns the elements of all that the test tries: as many as stepsVariable says, chosen at random.
func some[T any](t *testing.T, all []T) []T {
	t.Helper()
	most := fewSteps
	switch n := os.Getenv(stepsVariable); n {
	case "":
	case "all":
		return all
	default:
		var err error
		most, err = strconv.Atoi(n)
		must(t, err)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(most, len(all))]
}
