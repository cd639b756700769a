//go:build linux && (amd64 || arm64)

package aufs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/faults"
	"golang.org/x/sys/unix"
)

// A crash is tested at each step: an operation is run in a process of its own, again and again, and killed at its first
// system call that would change anything, at its second, and so on. After that a new driver looks what there is.

func init() { faults.Launch() }

// operation is what is interrupted.
type operation struct {
	name string
	// build makes the store that it finds.
	build func(t *testing.T, s store)
	// prepare comes before it in its own process, and is not interrupted.
	prepare func(t *testing.T, s store)
	run     func(t *testing.T, s store)
	// opens: the operation is Init itself, and run is what may be done then.
	opens bool
	// again says if it can be done again, for a driver that comes after.
	again bool
	// only is the one backend that has it, if not both do.
	only backendName
	// splits: until it is done aufs alone knows that some names are one file, and a reboot would make aufs forget.
	splits bool
}

// Layers of the stores below: base <- middle <- child, and other.
func threeLayers(t *testing.T, s store) {
	t.Helper()
	s.create(t, "", "base", "middle", "child")
	s.create(t, "", "other")
	s.apply(t, "base", "", entry{name: "f", content: "f"}, entry{name: "d/"}, entry{name: "d/f", content: "df"},
		entry{name: "d/g", content: "dg"}, entry{name: "e/"}, entry{name: "e/f", content: "ef"}, entry{name: "link", link: "f"},
		entry{name: "x/"}, entry{name: "x/link", link: "f"})
	s.apply(t, "middle", "base", entry{name: "d/"}, entry{name: "d/.wh..wh..opq"}, entry{name: "d/h", content: "dh"},
		entry{name: "e/"}, entry{name: "e/.wh.f"}, entry{name: "new", content: "new"})
	s.apply(t, "other", "", entry{name: "f", content: "other"})
}

// edited is a change of the layer child in its mount.
func edited(t *testing.T, s store) {
	t.Helper()
	dir := s.get(t, "child")
	edit(t, dir)
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

func childEdited(t *testing.T, s store) {
	t.Helper()
	threeLayers(t, s)
	s.change(t, "child", func(dir string) { edit(t, dir) })
}

var newLayer = []entry{
	{name: "d/"},
	{name: "d/.wh..wh..opq"},
	{name: "d/new", content: "new"},
	{name: "e/"},
	{name: "e/mine", content: "mine"},
	{name: ".wh.new"},
	{name: "g", content: strings.Repeat("g", 100_000)},
	{name: "same", link: "g"},
	{name: "f/"},
	{name: "f/f", content: "f"},
}

var operations = []operation{
	{
		name: "create", build: threeLayers, again: true,
		run: func(t *testing.T, s store) { s.create(t, "middle", "new") },
	},
	{
		name: "create-base", build: threeLayers, again: true,
		run: func(t *testing.T, s store) { s.create(t, "", "new") },
	},
	{
		name: "remove", build: childEdited, again: true,
		run: func(t *testing.T, s store) { must(t, s.Remove("child")) },
	},
	{
		name: "remove-mounted", build: childEdited, again: true,
		prepare: func(t *testing.T, s store) { s.get(t, "child") },
		run:     func(t *testing.T, s store) { must(t, s.Remove("child")) },
	},
	{
		name: "deferred-remove", build: childEdited, again: true,
		run: func(t *testing.T, s store) {
			clean, err := s.DeferredRemove("child")
			must(t, err)
			must(t, clean())
		},
	},
	{
		name: "apply", build: func(t *testing.T, s store) { threeLayers(t, s); s.create(t, "middle", "new") },
		run: func(t *testing.T, s store) { s.apply(t, "new", "middle", newLayer...) },
	},
	{
		name: "get", build: childEdited, again: true,
		run: func(t *testing.T, s store) { s.get(t, "child") },
	},
	{
		name: "get-long", build: longStack, again: true, only: backendAufs,
		run: func(t *testing.T, s store) { s.get(t, "child") },
	},
	{
		name: "put", build: threeLayers, prepare: edited, splits: true,
		run: func(t *testing.T, s store) { must(t, s.Put("child")) },
	},
	{
		name: "diff-mounted", build: threeLayers, prepare: edited, splits: true,
		run: func(t *testing.T, s store) { s.diff(t, "child", "middle") },
	},
	{
		name: "changes-mounted", build: threeLayers, prepare: edited, splits: true,
		run: func(t *testing.T, s store) {
			_, err := s.Changes("child", nil, "middle", nil, "")
			must(t, err)
		},
	},
	{
		name: "cleanup", build: childEdited, again: true,
		prepare: func(t *testing.T, s store) { s.get(t, "child"); s.get(t, "middle") },
		run:     func(t *testing.T, s store) { must(t, s.Cleanup()) },
	},
	{
		name: "init", build: rubbish, again: true, opens: true,
		run: func(*testing.T, store) {},
	},
}

// longStack is one that takes several calls to mount.
func longStack(t *testing.T, s store) {
	t.Helper()
	parent := ""
	for n := range maxOptionsPerCall + 10 {
		id := fmt.Sprintf("layer%d", n)
		s.create(t, parent, id)
		s.apply(t, id, parent, entry{name: id, content: id})
		parent = id
	}
	s.create(t, parent, "child")
}

// rubbish is what several interrupted operations have left.
func rubbish(t *testing.T, s store) {
	t.Helper()
	childEdited(t, s)
	home := string(s.inner.home)
	write(t, home, files{
		"tmp/trash-1/1/f": "f", "tmp/trash-1/0/": "", "tmp/file-2": "half a fi", "diff/gone/d/f": "f", "mnt/gone/": "", "overlay/lock/gone": "",
		"overlay/run/gone/mount-1/f": "f", "overlay/mark/gone": "trusted", "whiteouts/gone/root/.wh.f": "", "overlay/twin/gone/stamp": "",
	})
}

// TestCrash kills each operation at each of its steps.
func TestCrash(t *testing.T) {
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 4 {
		interrupted(t, args[0], backendName(args[1]), args[2], args[3])
		return
	}
	forEachBackend(t, func(t *testing.T, name backendName) {
		for _, op := range operations {
			if op.only != "" && op.only != name {
				continue
			}
			t.Run(op.name, func(t *testing.T) {
				c := newCrash(t, op, name)
				c.killAll(t)
			})
		}
	})
}

// The ways to run the child.
const (
	prepareOnly = "prepare"
	runAll      = "run"
)

// interrupted is the process that is killed.
func interrupted(t *testing.T, home string, name backendName, opName, how string) {
	t.Helper()
	i := slices.IndexFunc(operations, func(op operation) bool { return op.name == opName })
	op := operations[i]
	if op.opens && how == runAll {
		faults.Mark(faults.Begin)
	}
	d, err := Init(home, optionsFor(name))
	must(t, err)
	inner, ok := d.(interface{ self() *Driver })
	if !ok {
		t.Fatalf("Init returned a %T", d)
	}
	s := store{Driver: d, inner: inner.self(), backend: name}
	if op.prepare != nil {
		op.prepare(t, s)
	}
	if how == runAll {
		faults.Mark(faults.Begin)
		op.run(t, s)
	}
	faults.Mark(faults.End)
}

// layerTrees are what layers of a store show, by their ids.
type layerTrees map[string]tree

// crash is a test of one operation on one backend.
type crash struct {
	op      operation
	backend backendName
	// template is the store that the operation finds.
	template string
	// before and after are what layers show if it is not run, and if it is.
	before, after layerTrees
	steps         []faults.Call
}

func newCrash(t *testing.T, op operation, name backendName) *crash {
	t.Helper()
	c := &crash{op: op, backend: name, template: filepath.Join(t.TempDir(), "home")}
	s := openStore(t, c.template, name)
	op.build(t, s)
	must(t, s.Cleanup())
	before := c.copyStore(t)
	c.child(t, before, prepareOnly, nil)
	c.before = c.look(t, before)
	after := c.copyStore(t)
	c.child(t, after, runAll, func(call faults.Call) faults.Verdict {
		c.steps = append(c.steps, call)
		return faults.Continue
	})
	c.after = c.look(t, after)
	if len(c.steps) == 0 {
		t.Fatal("the operation has no step at which it could be interrupted")
	}
	return c
}

// copyStore makes a copy of the store that the operation finds.
func (c *crash) copyStore(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(c.template), "store-")
	must(t, err)
	home := filepath.Join(dir, "home")
	if out, err := exec.Command("cp", "-a", c.template, home).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	return home
}

// child runs the operation, or what comes before it, in a process of its own. It tells if that process was killed.
func (c *crash) child(t *testing.T, home, how string, decide func(faults.Call) faults.Verdict) (killed bool) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestCrash$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%s|%s", childVariable, home, c.backend, c.op.name, how))
	cmd.Stdout, cmd.Stderr = &out, &out
	err := faults.Run(cmd, func(call faults.Call) faults.Verdict {
		if call.Opens || decide == nil {
			return faults.Continue
		}
		verdict := decide(call)
		killed = killed || verdict == faults.Kill
		return verdict
	})
	if !killed && (err != nil || !strings.Contains(out.String(), "--- PASS: TestCrash")) {
		t.Fatalf("the operation %s: %v\n%s", c.op.name, err, out.String())
	}
	return killed
}

// look opens the store at home by a new driver, checks that nothing is there that should not be, and returns what its
// layers show.
func (c *crash) look(t *testing.T, home string) layerTrees {
	t.Helper()
	shown := c.show(t, home)
	// What the layers are at rest, by one more driver.
	s := c.open(t, home)
	noLeftovers(t, s)
	for id := range shown {
		s.atRest(t, id)
	}
	must(t, s.Cleanup())
	again := c.show(t, home)
	for id, want := range shown {
		sameTree(t, again[id], want)
	}
	return shown
}

// open is Init on the store at home.
func (c *crash) open(t *testing.T, home string) store {
	t.Helper()
	d, err := Init(home, optionsFor(c.backend))
	must(t, err)
	inner, ok := d.(interface{ self() *Driver })
	if !ok {
		t.Fatalf("Init returned a %T", d)
	}
	return store{Driver: d, inner: inner.self(), backend: c.backend}
}

// show returns what the layers of the store at home show, and unmounts them all.
func (c *crash) show(t *testing.T, home string) layerTrees {
	t.Helper()
	s := c.open(t, home)
	ids, err := s.ListLayers()
	must(t, err)
	shown := layerTrees{}
	for _, id := range ids {
		shown[id] = s.see(t, id)
	}
	must(t, s.Cleanup())
	noMounts(t, home)
	return shown
}

// noLeftovers fails the test if anything is in the store, in which nothing is mounted, that belongs to no layer.
func noLeftovers(t *testing.T, s store) {
	t.Helper()
	home := string(s.inner.home)
	ids, err := s.ListLayers()
	must(t, err)
	for dir, allowed := range map[string][]string{
		"": {layersDir, diffDir, mntDir, tmpDir, overlayDir, whiteoutsDir},
		// What Cleanup has not had time for is for the next Init, which was before this.
		tmpDir: nil, "overlay/run": nil, "overlay/mark": nil, "overlay/aside": nil,
		layersDir: ids, diffDir: ids, mntDir: ids, whiteoutsDir: ids, "overlay/twin": ids, "overlay/lock": ids,
	} {
		entries, err := os.ReadDir(filepath.Join(home, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		for _, entry := range entries {
			if !slices.Contains(allowed, entry.Name()) {
				t.Errorf("%s is left", filepath.Join(dir, entry.Name()))
			}
		}
	}
	if xinos, err := filepath.Glob("/dev/shm/aufs-xino-*"); err != nil || len(xinos) > 0 {
		t.Errorf("xino files are left: %v, %v", xinos, err)
	}
}

// stepsVariable says, in the environment, at how many of its steps, chosen at random, each operation is interrupted: a
// number, or "all".
const stepsVariable = "AUFS_TEST_STEPS"

// fewSteps is for want of stepsVariable.
const fewSteps = 6

// interruption is one of an operation.
type interruption struct {
	step int
	// reboot: all mounts are gone after it.
	reboot bool
}

// interruptions are those that are tried.
func (c *crash) interruptions(t *testing.T) []interruption {
	t.Helper()
	var all []interruption
	for n := range c.steps {
		all = append(all, interruption{n, false}, interruption{n, true})
	}
	most := fewSteps
	switch some := os.Getenv(stepsVariable); some {
	case "":
	case "all":
		return all
	default:
		var err error
		most, err = strconv.Atoi(some)
		must(t, err)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(most, len(all))]
}

// killAll kills the operation at its steps, or at some.
func (c *crash) killAll(t *testing.T) {
	t.Helper()
	killed := 0
	for _, i := range c.interruptions(t) {
		if c.killAt(t, i) {
			killed++
		}
		if t.Failed() {
			t.Fatalf("killed at step %d of %d, %v, reboot: %v", i.step, len(c.steps), c.steps[i.step], i.reboot)
		}
	}
	t.Logf("%s: %d steps, killed %d times", c.op.name, len(c.steps), killed)
}

// killAt tries one interruption. It tells if the operation came so far: it need not make the same calls each time.
func (c *crash) killAt(t *testing.T, i interruption) (killed bool) {
	t.Helper()
	home := c.copyStore(t)
	step := -1
	killed = c.child(t, home, runAll, func(faults.Call) faults.Verdict {
		if step++; step == i.step {
			return faults.Kill
		}
		return faults.Continue
	})
	if i.reboot {
		unmountLazily(t, home)
	}
	shown := c.look(t, home)
	c.compare(t, shown, i.reboot)
	if c.op.again {
		s := c.open(t, home)
		if _, done := shown["new"]; !done || c.after["new"] == nil {
			c.op.run(t, s)
		}
		must(t, s.Cleanup())
		final := c.look(t, home)
		for id, want := range c.after {
			sameTree(t, final[id], want)
		}
	}
	if !t.Failed() {
		must(t, os.RemoveAll(filepath.Dir(home)))
	}
	return killed
}

// compare fails the test unless each layer is as before the operation, or as after it, and no other one is there.
func (c *crash) compare(t *testing.T, shown layerTrees, reboot bool) {
	t.Helper()
	for id, got := range shown {
		before, after := c.before[id], c.after[id]
		switch {
		case before == nil && after == nil:
			t.Errorf("there is a layer %s", id)
		case c.op.splits && reboot && c.backend == backendAufs && id == "child":
			// A name may have its old content.
			for path, node := range got {
				if node != before[path] && node != after[path] && !strings.Contains(node, "links") {
					t.Errorf("layer %s has %s:\n %q\n before %q\n after %q", id, path, node, before[path], after[path])
				}
			}
		case before != nil && sameAs(got, before), after != nil && sameAs(got, after):
		default:
			t.Errorf("layer %s is neither as before nor as after", id)
			if after == nil {
				after = before
			}
			sameTree(t, got, after)
		}
	}
	for id := range c.before {
		if c.after[id] != nil && shown[id] == nil {
			t.Errorf("layer %s is lost", id)
		}
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

// unmountLazily takes all mounts in dir, and on it, out of this mount namespace, as a reboot does.
func unmountLazily(t *testing.T, dir string) {
	t.Helper()
	mounts, err := mountsUnder(dir)
	must(t, err)
	for _, m := range mounts {
		must(t, unix.Unmount(m.Mountpoint, unix.MNT_DETACH))
	}
	for {
		mounted, err := isMounted(dir)
		must(t, err)
		if !mounted {
			return
		}
		must(t, unix.Unmount(dir, unix.MNT_DETACH))
	}
}
