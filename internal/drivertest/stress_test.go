//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// The stress tests have many workers use one store at once, with layers of their own and with shared layers. The content of a layer
// follows from its name, so that whoever finds a layer can tell whether it is whole.

// stressVariable is the environment variable that says how long each stress test runs.
const stressVariable = "AUFS_TEST_STRESS"

func stressTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv(stressVariable)
	if text == "" {
		text = "5s"
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}

// stressed makes the layers that all workers share: base, top on base, and seen on top.
func stressed(t *testing.T, name backend.Name) testStore {
	t.Helper()
	s := newStore(t, name)
	s.create(t, "", "base", "top", "seen")
	s.apply(t, "base", "", entry{Name: "f", Content: "f"}, entry{Name: "d/"}, entry{Name: "d/f", Content: "df"}, entry{Name: "gone", Content: "x"})
	s.apply(t, "top", "base", entry{Name: ".wh.gone"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/g", Content: "dg"})
	return s
}

// seen is what a layer on top of the layer top shows, and hidden is what it does not show.
var (
	seen   = files{"f": "f", "d/g": "dg"}
	hidden = []string{"gone", "d/f"}
)

// looksAt compares dir with seen and hidden.
func looksAt(dir string) error {
	for path, want := range seen {
		if content, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(content) != want {
			return fmt.Errorf("%s has %q, %w", path, content, err)
		}
	}
	for _, path := range hidden {
		if _, err := os.Lstat(filepath.Join(dir, path)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is not hidden: %w", path, err)
		}
	}
	return nil
}

// A worker is one of many that use a store.
type worker struct {
	s  testStore
	me string
	n  int
}

// imageEntries returns the entries of an image layer with this id.
func imageEntries(id string) []entry {
	return []entry{
		{Name: "d/"},
		{Name: "d/.wh..wh..opq"},
		{Name: "d/of", Content: id},
		{Name: ".wh.f"},
		{Name: "long", Content: strings.Repeat(id, 1000)},
		{Name: "also", Link: "long"},
	}
}

// round does one thing at random, and returns what was wrong with it.
func (w *worker) round() error {
	kinds := []struct {
		name string
		do   func() error
	}{
		{"life of a layer", w.life},
		{"life of a layer", w.life},
		{"look at what all share", w.look},
		{"quarrel about a layer", w.quarrel},
		{"quarrel about a layer", w.quarrel},
		{"init", w.init},
		{"cleanup", w.cleanup},
	}
	kind := kinds[rand.IntN(len(kinds))]
	if err := kind.do(); err != nil {
		return fmt.Errorf("%s: %s: %w", w.me, kind.name, err)
	}
	return nil
}

// life is the life of an image layer and a container that nobody else knows.
func (w *worker) life() error {
	w.n++
	image := fmt.Sprintf("%s-%d", w.me, w.n)
	container := image + "-container"
	if err := w.s.Create(image, "top", nil); err != nil {
		return err
	}
	packed, err := packEntries(imageEntries(image))
	if err != nil {
		return err
	}
	if _, err := w.s.ApplyDiff(image, "top", driver.ApplyOptions{Diff: packed}); err != nil {
		return err
	}
	if err := w.s.Create(container, image, nil); err != nil {
		return err
	}
	if err := w.contain(container, image); err != nil {
		return err
	}
	if err := w.check(container); err != nil {
		return err
	}
	if err := w.s.Remove(container); err != nil {
		return err
	}
	return w.s.Remove(image)
}

// contain does twice what a container does.
func (w *worker) contain(container, image string) error {
	for i := range 2 {
		err := w.within(container, func(dir string) error {
			content, err := os.ReadFile(filepath.Join(dir, "d/of"))
			if err != nil || string(content) != image {
				return fmt.Errorf("d/of has %q, %w", content, err)
			}
			if _, err := os.Lstat(filepath.Join(dir, "d/g")); err == nil {
				return errors.New("d/g is not hidden")
			}
			if i == 0 {
				return errors.Join(os.WriteFile(filepath.Join(dir, "mine"), []byte(container), 0o644), os.Remove(filepath.Join(dir, "also")))
			}
			if content, err = os.ReadFile(filepath.Join(dir, "mine")); err != nil || string(content) != container {
				return fmt.Errorf("mine has %q, %w", content, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// within mounts a layer, calls do with a directory that shows the layer for as long as do runs, whatever others do, and unmounts the
// layer.
func (w *worker) within(id string, do func(dir string) error) error {
	for {
		dir, err := w.s.Get(id, driver.GetOptions{})
		if err != nil {
			return err
		}
		// An open directory keeps the mount alive. There may be no mount any more, because of somebody else's Cleanup.
		held, err := os.Open(dir)
		if err != nil {
			return errors.Join(err, w.s.Put(id))
		}
		mounted, err := onOtherDevice(held, string(w.s.inner.Home))
		if err == nil && mounted {
			err = do(fmt.Sprintf("/proc/self/fd/%d", held.Fd()))
		}
		if err = errors.Join(err, held.Close(), w.s.Put(id)); err != nil || mounted {
			return err
		}
	}
}

func onOtherDevice(f *os.File, path string) (bool, error) {
	var here, there unix.Stat_t
	err := errors.Join(unix.Fstat(int(f.Fd()), &here), unix.Lstat(path, &there))
	return here.Dev != there.Dev, err
}

// check compares the archive and the changes of a container with what contain has done.
func (w *worker) check(container string) error {
	image := strings.TrimSuffix(container, "-container")
	archive, err := w.s.Diff(container, nil, image, nil)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(err, archive.Close())
		}
		names[h.Name] = true
	}
	if !names["mine"] || !names[".wh.also"] || len(names) != 2 {
		err = fmt.Errorf("the archive has %v", names)
	}
	changes, cerr := w.s.Changes(container, nil, image, nil)
	if got := fmt.Sprint(kinds(changes)); got != "[D /also A /mine]" {
		err = errors.Join(err, fmt.Errorf("the changes are %v", got))
	}
	return errors.Join(err, cerr, archive.Close())
}

// look looks at a layer that all workers mount at once.
func (w *worker) look() error { return w.within("seen", looksAt) }

// quarrel makes, mounts, reads or removes a layer while others do the same.
func (w *worker) quarrel() error {
	id := fmt.Sprintf("quarrel-%d", rand.IntN(3))
	var err error
	switch rand.IntN(4) {
	case 0:
		err = w.s.Create(id, "top", nil)
	case 1:
		err = w.s.Remove(id)
	case 2:
		var archive io.ReadCloser
		if archive, err = w.s.Diff(id, nil, "top", nil); err == nil {
			err = drain(archive)
		}
	case 3:
		err = w.within(id, func(dir string) error {
			_, err := os.ReadDir(dir)
			return err
		})
	}
	if err == nil || isQuarrel(err) {
		return nil
	}
	return err
}

// mountedElsewhere is what overlayfs logs when a layer is mounted again while a copy of its last mount is still in the mount namespace in
// which the library unpacks an archive. Nobody works in that copy.
const mountedElsewhere = "accessing files from both mounts"

// isQuarrel reports whether an error, and each error that is joined in it, comes from what others do with the layer.
func isQuarrel(err error) bool {
	if inner := errors.Unwrap(err); inner != nil {
		return isQuarrel(inner)
	}
	if several, ok := any(err).(interface{ Unwrap() []error }); ok {
		if fmt.Sprintf("%T", err) == fmt.Sprintf("%T", errors.Join(err)) {
			return !slices.ContainsFunc(several.Unwrap(), func(part error) bool { return !isQuarrel(part) })
		}
		// If an error wraps several errors by %w, one of them may say what the whole error is.
		return slices.ContainsFunc(several.Unwrap(), isQuarrel)
	}
	allowed := []error{fs.ErrExist, fs.ErrNotExist, store.ErrLayerUnknown, unix.EBUSY, unix.ESTALE}
	return slices.ContainsFunc(allowed, func(target error) bool { return errors.Is(err, target) })
}

func (w *worker) init() (err error) {
	w.s, err = reopen(string(w.s.inner.Home), w.s.backend)
	return err
}

func (w *worker) cleanup() error {
	if err := w.s.Cleanup(); !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}

// packEntries is archiveOf without a test.
func packEntries(entries []entry) (io.Reader, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := e.Write(w); err != nil {
			return nil, err
		}
	}
	return &b, w.Close()
}

// TestStressProcesses has processes at work, kills them at random, and starts others in their place. The store in the end must be
// whole.
func TestStressProcesses(t *testing.T) {
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 3 {
		s, err := reopen(args[0], backend.Name(args[1]))
		must(t, err)
		w := worker{s: s, me: args[2]}
		for {
			must(t, w.round())
			fmt.Println("done")
		}
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		t.Cleanup(wire.ExpectMessages(mountedElsewhere))
		s := stressed(t, name)
		const processes = 8
		running := [processes]*process{}
		started, rounds, kills := 0, 0, 0
		end := func(p *process) {
			if p != nil {
				rounds += p.kill(t)
				kills++
			}
		}
		begun := time.Now()
		// A slow machine takes a while to begin.
		for (time.Since(begun) < stressTime(t) || rounds == 0 && time.Since(begun) < 2*time.Minute) && !t.Failed() {
			for i := range running {
				if running[i] == nil {
					started++
					running[i] = startProcess(t, s, fmt.Sprintf("process%d", started))
				}
			}
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			i := rand.IntN(processes)
			if running[i].out.lines() == 0 && rand.IntN(4) > 0 {
				// Most processes get to do something.
				continue
			}
			end(running[i])
			running[i] = nil
		}
		for _, p := range running {
			end(p)
		}
		t.Logf("%d processes at a time, %d rounds, %d killed", processes, rounds, kills)
		if rounds == 0 {
			t.Error("nothing was done")
		}
		afterStress(t, s)
	})
}

// A process is a worker in a process of its own.
type process struct {
	cmd *exec.Cmd
	out lockedBuffer
}

// A lockedBuffer can be read while it is written to.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// lines returns how many rounds the process has reported.
func (b *lockedBuffer) lines() int { return strings.Count(b.String(), "done\n") }

func startProcess(t *testing.T, s testStore, me string) *process {
	t.Helper()
	p := &process{cmd: exec.Command("/proc/self/exe", "-test.run=^TestStressProcesses$")}
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%s", childVariable, s.inner.Home, s.backend, me))
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	// The process may have a child that unpacks an archive.
	p.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	must(t, p.cmd.Start())
	return p
}

// kill kills the process, which must not have ended by itself, and returns how many rounds it has done.
func (p *process) kill(t *testing.T) int {
	t.Helper()
	_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) // if it has ended, its status shows that
	_ = p.cmd.Wait()
	if status, ok := p.cmd.ProcessState.Sys().(interface{ Signaled() bool }); !ok || !status.Signaled() {
		t.Errorf("a process has ended: %v\n%s", p.cmd.ProcessState, p.out.String())
	}
	return p.out.lines()
}

// afterStress checks with a new driver everything that is left in a store.
func afterStress(t *testing.T, old testStore) {
	t.Helper()
	home, name := string(old.inner.Home), old.backend
	s, err := reopen(home, name)
	must(t, err)
	ids, err := s.ListLayers()
	must(t, err)
	found := map[string]bool{}
	for _, id := range ids {
		found[id] = true
		// A layer that killed processes have left mounted keeps the layers below it from being converted.
		dir, err := s.Get(id, driver.GetOptions{Options: []string{"ro"}})
		must(t, err)
		if err := isWhole(id, dir); err != nil {
			t.Errorf("layer %s: %v", id, err)
		}
		must(t, s.Put(id))
	}
	if !found["base"] || !found["top"] || !found["seen"] {
		t.Errorf("layers are lost: there are %q", ids)
	}
	must(t, s.Cleanup())
	noMounts(t, home)
	s, err = reopen(home, name)
	must(t, err)
	noLeftovers(t, s)
	for _, id := range ids {
		s.oneForm(t, id)
	}
	must(t, s.Cleanup())
	noMounts(t, home)
}

// isWhole returns what is wrong with the layer id, which is mounted at dir.
func isWhole(id, dir string) error {
	image, isContainer := strings.CutSuffix(id, "-container")
	switch {
	case id == "base", id == "top":
		return nil
	case !strings.HasPrefix(id, "process") && !strings.HasPrefix(id, "thread"):
		return looksAt(dir)
	}
	content, err := os.ReadFile(filepath.Join(dir, "d/of"))
	if errors.Is(err, fs.ErrNotExist) && !isContainer {
		// Nothing has been unpacked into the layer yet.
		return looksAt(dir)
	}
	if err != nil || string(content) != image {
		return fmt.Errorf("d/of has %q, %w", content, err)
	}
	for _, path := range []string{"f", "d/g", "gone"} {
		if _, err := os.Lstat(filepath.Join(dir, path)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is not hidden: %w", path, err)
		}
	}
	content, err = os.ReadFile(filepath.Join(dir, "long"))
	if err != nil || string(content) != strings.Repeat(image, 1000) {
		return fmt.Errorf("long has %d bytes, %w", len(content), err)
	}
	return nil
}

// TestStressThreads has goroutines at work on one store, with two drivers. In the end, no goroutine and no open file must be left.
func TestStressThreads(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		t.Cleanup(wire.ExpectMessages(mountedElsewhere))
		s := stressed(t, name)
		other := openStore(t, string(s.inner.Home), name)
		before := resources(t)
		const workers = 8
		var wg sync.WaitGroup
		var rounds [workers]int
		until := time.Now().Add(stressTime(t))
		for i := range workers {
			w := worker{s: s, me: fmt.Sprintf("thread%d", i)}
			if i%2 > 0 {
				w.s = other
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				for time.Now().Before(until) && !t.Failed() {
					if err := w.round(); err != nil {
						t.Error(err)
					}
					rounds[i]++
				}
			}()
		}
		wg.Wait()
		total := 0
		for _, n := range rounds {
			total += n
		}
		t.Logf("%d goroutines, %d rounds", workers, total)
		afterStress(t, s)
		if after := resources(t); after != before {
			t.Errorf("there are %s, and there were %s", after, before)
		}
	})
}

// resources counts the goroutines and the open files of this process.
func resources(t *testing.T) string {
	t.Helper()
	runtime.GC()
	var text string
	// A goroutine that is about to end may take a moment.
	for range 20 {
		fds, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		now := fmt.Sprintf("%d goroutines and %d file descriptors", runtime.NumGoroutine(), len(fds))
		if now == text {
			break
		}
		text = now
		time.Sleep(50 * time.Millisecond)
	}
	return text
}

func TestIsQuarrel(t *testing.T) {
	allowed, other := fmt.Errorf("allowed: %w", fs.ErrExist), errors.New("other")
	for _, c := range []struct {
		err  error
		want bool
	}{
		{allowed, true},
		{other, false},
		{fmt.Errorf("both: %w", errors.Join(allowed, other)), false},
		{fmt.Errorf("both: %w", errors.Join(allowed, unix.EBUSY)), true},
		{fmt.Errorf("what the whole is: %w: %w", unix.EBUSY, other), true},
		{fmt.Errorf("neither: %w: %w", other, errors.Join(allowed, other)), false},
	} {
		if got := isQuarrel(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
