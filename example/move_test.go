//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/pkg/reexec"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/faults"
	"golang.org/x/sys/unix"
)

const (
	// moveVariable has the arguments of a child process that moves a store.
	moveVariable = "AUFS_EXAMPLE_MOVE"
	// openVariable has the driver, the graph root and the run root of a store that a child process opens and reads.
	openVariable = "AUFS_EXAMPLE_OPEN"
)

func TestMain(m *testing.M) {
	faults.Launch()
	// The library unpacks archives in a child process, which runs this same program.
	if reexec.Init() {
		return
	}
	storetest.NoOptionsFile()
	if args := os.Getenv(moveVariable); args != "" {
		faults.Tell(faults.Begin)
		status := moveStore(context.Background(), strings.Split(args, "\n"), os.Stdout, os.Stderr)
		faults.Tell(faults.End)
		os.Exit(status)
	}
	if args := strings.Split(os.Getenv(openVariable), "\n"); len(args) == 3 {
		s, err := movedStore{root: args[1], run: args[2]}.tryOpen(args[0])
		if err == nil {
			_, err = s.Layers()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A movedStore is a store in root that some driver has.
type movedStore struct{ root, run string }

// open opens the store with a driver. It must be shut down before the next open.
func (m movedStore) open(t *testing.T, driver string) storage.Store {
	t.Helper()
	s, err := m.tryOpen(driver)
	must(t, err)
	return s
}

func (m movedStore) tryOpen(driver string) (storage.Store, error) {
	o := storage.StoreOptions{GraphRoot: m.root, RunRoot: m.run, GraphDriverName: driver}
	if driver == "aufs" {
		o.GraphDriverOptions = []string{"aufs.backend=auto"}
	}
	return storage.GetStore(o)
}

func shutDown(t *testing.T, s storage.Store) {
	t.Helper()
	_, err := s.Shutdown(false)
	must(t, err)
}

// command returns a child process that moves the store to a driver.
func (m movedStore) command(driver string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), moveVariable+"="+strings.Join([]string{"-to", driver, "-runroot", m.run, m.root}, "\n"))
	return cmd
}

// move moves the store to a driver.
func (m movedStore) move(t *testing.T, driver string) {
	t.Helper()
	if out, err := m.command(driver).CombinedOutput(); err != nil {
		t.Fatalf("moving to %s: %v\n%s", driver, err, out)
	}
}

// layerArchive returns an archive of files, by name and content. A name that ends in a slash is that of a directory.
func layerArchive(t *testing.T, files ...string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Mode: 0o640, Uid: 5, Gid: 7, Size: int64(len(files[i+1])), ModTime: time.Unix(1_700_000_000, 0), Typeflag: tar.TypeReg}
		if strings.HasSuffix(files[i], "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o751
		}
		must(t, w.WriteHeader(h))
		_, err := io.WriteString(w, files[i+1])
		must(t, err)
	}
	must(t, w.Close())
	return &b
}

// fill puts images into the store, and containers on every other one.
func fill(t *testing.T, s storage.Store, images int) {
	t.Helper()
	for n := range images {
		parent := ""
		for i, archive := range []io.Reader{
			layerArchive(t, "d/", "", "d/gone", "gone", "d/kept", fmt.Sprint("kept", n), "e/", "", "e/old", "old", "file", "file", "long/", "", "long/"+strings.Repeat("n", 200), "n"),
			layerArchive(t, "d/", "", "d/.wh.gone", "", "e/", "", "e/.wh..wh..opq", "", "e/new", "new"),
			layerArchive(t, ".wh.long", "", "top", fmt.Sprint("top", n)),
		} {
			l, _, err := s.PutLayer("", parent, []string{fmt.Sprintf("layer-%d-%d", n, i)}, "", false, nil, archive)
			must(t, err)
			parent = l.ID
		}
		img, err := s.CreateImage("", []string{fmt.Sprintf("localhost/image:%d", n)}, parent, "metadata", nil)
		must(t, err)
		must(t, s.SetImageBigData(img.ID, "data", []byte("big"), nil))
		if n%2 > 0 {
			continue
		}
		var options *storage.ContainerOptions
		maps := []idtools.IDMap{{HostID: 100_000, Size: 65_536}}
		// Where mounts cannot shift owners, the library changes them in a copy of the image, which cannot move.
		d, err := s.GraphDriver()
		must(t, err)
		if n == 0 && d.SupportsShifting(maps, maps) {
			options = &storage.ContainerOptions{IDMappingOptions: storage.IDMappingOptions{UIDMap: maps, GIDMap: maps}}
		}
		c, err := s.CreateContainer("", []string{fmt.Sprint("container", n)}, img.ID, "", "of the container", options)
		must(t, err)
		dir, err := s.Mount(c.ID, "")
		must(t, err)
		must(t, errors.Join(
			os.Remove(filepath.Join(dir, "d/kept")), os.RemoveAll(filepath.Join(dir, "e")), os.Mkdir(filepath.Join(dir, "e"), 0o700),
			os.WriteFile(filepath.Join(dir, "e/made"), []byte("made"), 0o600), os.WriteFile(filepath.Join(dir, "file"), []byte("changed"), 0o600),
			os.Rename(filepath.Join(dir, "top"), filepath.Join(dir, "other")),
		))
		_, err = s.Unmount(c.ID, true)
		must(t, err)
	}
}

// mountedTree lists the files of a mount.
func mountedTree(t *testing.T, dir string, writable bool) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		var content []byte
		if err = unix.Lstat(path, &st); err == nil && entry.Type().IsRegular() {
			content, err = os.ReadFile(path)
		}
		name, _ := filepath.Rel(dir, path)
		if writable && name == "." {
			// Aufs makes files of its own there in each writable layer, and so changes the time.
			st.Mtim = unix.Timespec{}
		}
		fmt.Fprintf(&b, "  %s %o %d:%d %d.%09d %q\n", name, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, content)
		return err
	}))
	return b.String()
}

// picture describes what the store has, without what depends on the driver.
func picture(t *testing.T, s storage.Store) string {
	t.Helper()
	var lines []string
	layers, err := s.Layers()
	must(t, err)
	images, err := s.Images()
	must(t, err)
	containers, err := s.Containers()
	must(t, err)
	for _, l := range layers {
		line := fmt.Sprintf("layer %s on %s, %q, %s, maps %v", l.ID, l.Parent, l.Names, l.UncompressedDigest, l.UIDMap)
		if l.UncompressedDigest != "" {
			r, err := s.Diff("", l.ID, nil)
			must(t, err)
			sum := sha256.New()
			_, err = io.Copy(sum, r)
			must(t, errors.Join(err, r.Close()))
			line += fmt.Sprintf(", archive %x", sum.Sum(nil))
		}
		lines = append(lines, line)
	}
	for _, i := range images {
		data, err := s.ImageBigData(i.ID, "data")
		must(t, err)
		dir, err := s.MountImage(i.ID, nil, "")
		must(t, err)
		lines = append(lines, fmt.Sprintf("image %s of %s, %q, %q, %q\n%s", i.ID, i.TopLayer, i.Names, i.Metadata, data, mountedTree(t, dir, false)))
		_, err = s.UnmountImage(i.ID, true)
		must(t, err)
	}
	for _, c := range containers {
		dir, err := s.Mount(c.ID, "")
		must(t, err)
		lines = append(lines, fmt.Sprintf("container %s of %s, %s, %q, %q\n%s", c.ID, c.ImageID, c.LayerID, c.Names, c.Metadata, mountedTree(t, dir, true)))
		_, err = s.Unmount(c.ID, true)
		must(t, err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// linesOnlyIn returns the lines of text that another text does not have.
func linesOnlyIn(text, other string) string {
	lines, others := strings.Split(text, "\n"), strings.Split(other, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return slices.Contains(others, line) }), "\n")
}

// looksLike opens the store with a driver, compares it with the picture, and has the library check it.
func (m movedStore) looksLike(t *testing.T, driver, want string) {
	t.Helper()
	s := m.open(t, driver)
	defer shutDown(t, s)
	if got := picture(t, s); got != want {
		t.Fatalf("with %s the store has\n%s\n\nand it had\n%s", driver, linesOnlyIn(got, want), linesOnlyIn(want, got))
	}
	report, err := s.Check(storage.CheckEverything())
	must(t, err)
	if len(report.Layers)+len(report.Images)+len(report.Containers) > 0 {
		t.Errorf("with %s, the library finds %v %v %v", driver, report.Layers, report.Images, report.Containers)
	}
}

// newMovedStore makes a store of the driver aufs, with images and containers in it.
func newMovedStore(t *testing.T, images int) (m movedStore, has string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	m = movedStore{root: filepath.Join(t.TempDir(), "root"), run: filepath.Join(t.TempDir(), "run")}
	s := m.open(t, "aufs")
	fill(t, s, images)
	has = picture(t, s)
	shutDown(t, s)
	return m, has
}

// TestMove moves a store to the overlay driver and back.
func TestMove(t *testing.T) {
	m, has := newMovedStore(t, 10)
	for range 2 {
		for _, driver := range []string{"overlay", "aufs"} {
			m.move(t, driver)
			m.hasNothing(t, other[driver])
			m.looksLike(t, driver, has)
			m.move(t, driver) // again: there is nothing to do
		}
	}
}

// hasNothing fails the test if the graph root has layers or records of a driver. A program may have made directories for them.
func (m movedStore) hasNothing(t *testing.T, driver string) {
	t.Helper()
	if ids, err := layersIn(driver, filepath.Join(m.root, driver)); err != nil || len(ids) > 0 {
		t.Errorf("there are the layers %q, %v", ids, err)
	}
	for _, kind := range recordKinds {
		path := filepath.Join(m.root, driver+"-"+kind)
		if err := isFree(path, kind); err != nil || isGuard(path) {
			t.Errorf("there is %s: %v", path, err)
		}
	}
	if entries, err := filepath.Glob(m.root + "/moving-*"); err != nil || len(entries) > 0 {
		t.Errorf("there are %q, %v", entries, err)
	}
	if left, err := overlayLayers(filepath.Join(m.root, "aufs")); err != nil || len(left) > 0 {
		t.Errorf("in overlay form: %q, %v", left, err)
	}
}

// program has a child process open the store with a driver, and read the records of layers.
func (m movedStore) program(driver string) (out []byte, err error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), openVariable+"="+strings.Join([]string{driver, m.root, m.run}, "\n"))
	return cmd.CombinedOutput()
}

// isClosed fails the test if a program can open the store.
func (m movedStore) isClosed(t *testing.T) {
	t.Helper()
	for driver := range other {
		if out, err := m.program(driver); err == nil || !strings.Contains(string(out), "not a directory") {
			t.Errorf("a program with %s: %v\n%s", driver, err, out)
		}
	}
}

// TestMoveKilled kills the program while it moves a store, at random times, until one run comes to its end. In between, no program can open the
// store with its records aside.
func TestMoveKilled(t *testing.T) {
	m, has := newMovedStore(t, 10)
	start := time.Now()
	m.move(t, "overlay")
	whole := time.Since(start)
	m.looksLike(t, "overlay", has)
	killed, closed := 0, 0
	for _, driver := range []string{"aufs", "overlay", "aufs", "overlay", "aufs"} {
		for {
			cmd := m.command(driver)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			must(t, cmd.Start())
			kill := time.AfterFunc(rand.N(whole), func() { _ = cmd.Process.Kill() })
			err := cmd.Wait()
			kill.Stop()
			if err == nil {
				break
			}
			if cmd.ProcessState.Exited() {
				t.Fatalf("moving to %s: %v\n%s", driver, err, out.String())
			}
			killed++
			if isGuard(filepath.Join(m.root, "aufs-layers")) || isGuard(filepath.Join(m.root, "overlay-layers")) {
				closed++
				m.isClosed(t)
			}
		}
		m.hasNothing(t, other[driver])
		m.looksLike(t, driver, has)
	}
	t.Logf("%d runs were killed, %d of them with the records aside", killed, closed)
}

// calls returns the calls of a move to a driver, which it makes.
func (m movedStore) calls(t *testing.T, driver string) (calls []faults.Call) {
	t.Helper()
	must(t, faults.Run(m.command(driver), func(call faults.Call) faults.Verdict {
		calls = append(calls, call)
		return faults.Continue
	}))
	return calls
}

// TestMoveInterrupted interrupts the program at single system calls: it is killed before the call, or the call fails. Then other programs try to
// open the store, and the program is called again. Half of the time, that is interrupted as well.
func TestMoveInterrupted(t *testing.T) {
	faults.Need(t)
	m, has := newMovedStore(t, 2)
	steps, all := 6, os.Getenv("AUFS_TEST_STEPS")
	if n, err := strconv.Atoi(all); err == nil {
		steps = 3 * n
	}
	calls := map[string]int{}
	for _, driver := range []string{"overlay", "aufs"} {
		calls[driver] = len(m.calls(t, driver))
		m.looksLike(t, driver, has)
	}
	t.Logf("calls: %v", calls)
	if all == "all" {
		steps = max(calls["overlay"], calls["aufs"])
	}
	for i := range steps {
		for _, driver := range []string{"overlay", "aufs"} {
			// The last calls, which reveal the records, get half of the steps.
			step := rand.N(calls[driver])
			if i%2 > 0 {
				step = calls[driver] - 1 - rand.N(min(60, calls[driver]))
			}
			if all == "all" {
				step = i % calls[driver]
			}
			for _, first := range interruptions {
				runs := [][]cut{{{step, anyCall, first}}}
				if rand.N(2) > 0 {
					runs = append(runs, []cut{{rand.N(calls[driver]), anyCall, interruptions[rand.N(len(interruptions))]}})
				}
				m.interrupt(t, driver, has, runs...)
			}
			m.move(t, driver)
		}
	}
}

// TestMoveRestoresTimes interrupts the program where it puts back the times of a directory, which it has changed. It interrupts the call after that
// as well: where it opens the driver and gives up, or where it puts times back.
func TestMoveRestoresTimes(t *testing.T) {
	faults.Need(t)
	m, has := newMovedStore(t, 1)
	for _, driver := range []string{"overlay", "aufs"} {
		calls := m.calls(t, driver)
		m.looksLike(t, driver, has)
		m.move(t, other[driver])
		times := len(slices.DeleteFunc(calls, func(call faults.Call) bool { return !setTimes.MatchString(call.String()) }))
		if times == 0 {
			t.Errorf("the move to %s puts no times back", driver)
		}
		for n := range times {
			m.interrupt(t, driver, has, []cut{{n, setTimes, failure}})
			m.interrupt(t, driver, has, []cut{{n, setTimes, kill}}, []cut{{0, openDriver, failure}})
			m.interrupt(t, driver, has, []cut{{n, setTimes, kill}}, []cut{{0, setTimes, kill}})
		}
		m.move(t, driver)
	}
}

// TestMoveGivenBack has moves fail before any layer has moved, so that the records get their old names again.
func TestMoveGivenBack(t *testing.T) {
	faults.Need(t)
	m, has := newMovedStore(t, 1)
	for name, runs := range map[string][][]cut{
		"in a conversion":               {{{0, regexp.MustCompile(`^unlinkat\(.*/d/\.wh\.gone\)`), failure}}},
		"without a driver to undo with": {{{0, regexp.MustCompile(`^renameat2?\(/aufs/diff/[0-9a-f]{64}`), kill}}, {{0, openDriver, failure}}},
		"and killed meanwhile":          {{{0, regexp.MustCompile(`^mkdirat\(/overlay/[0-9a-f]{64}`), failure}, {0, regexp.MustCompile(`^unlinkat\(/moving-aufs-to-overlay/images`), kill}}},
	} {
		t.Run(name, func(t *testing.T) {
			m.interrupt(t, "overlay", has, runs...)
		})
	}
}

// An interruption is what becomes of a system call, and its name.
type interruption struct {
	name    string
	verdict faults.Verdict
}

var (
	kill          = interruption{"killed", faults.Kill}
	failure       = interruption{"EIO", faults.Fail(unix.EIO)}
	interruptions = []interruption{kill, failure, {"ENOSPC", faults.Fail(unix.ENOSPC)}}
)

// A cut is an interruption of the program at one of the calls that match a regular expression, with paths from the graph root on. before says how
// many others of these are before it.
type cut struct {
	before int
	call   *regexp.Regexp
	interruption
}

var (
	anyCall  = regexp.MustCompile("")
	setTimes = regexp.MustCompile(`^utimensat`)
	// openDriver are the calls by which a move that goes on opens the driver.
	openDriver = regexp.MustCompile(`\(/aufs/tmp`)
)

// interrupt moves the store to a driver, interrupts calls of the program at the cuts, for each run at one after the other, compares the store with
// the picture, and moves it back.
func (m movedStore) interrupt(t *testing.T, driver, has string, runs ...[]cut) {
	t.Helper()
	for _, cuts := range runs {
		before, at := 0, ""
		cmd := m.command(driver)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := faults.Run(cmd, func(call faults.Call) faults.Verdict {
			if len(cuts) == 0 || !cuts[0].call.MatchString(strings.ReplaceAll(call.String(), m.root, "")) {
				return faults.Continue
			}
			if before++; before <= cuts[0].before {
				return faults.Continue
			}
			verdict := cuts[0].verdict
			at += fmt.Sprintf("%s at call %d, %v; ", cuts[0].name, call.N, call)
			cuts, before = cuts[1:], 0
			return verdict
		})
		t.Logf("moving to %s, %s: %v\n%s", driver, at, err, out.String())
		if err == nil {
			// The call need not succeed, or there are fewer calls.
			break
		}
		if entries, err := filepath.Glob(m.root + "/moving-*"); err == nil && len(entries) > 0 {
			for program := range other {
				_, _ = m.program(program)
			}
		} else if driver == "overlay" {
			m.isWhole(t)
		}
	}
	m.move(t, driver)
	m.hasNothing(t, other[driver])
	m.looksLike(t, driver, has)
	m.move(t, other[driver])
	if t.Failed() {
		t.FailNow()
	}
}

// isWhole fails the test if the conversion of a layer was cut short: nobody would put the times of directories back any more.
func (m movedStore) isWhole(t *testing.T) {
	t.Helper()
	home := store.Home(filepath.Join(m.root, "aufs"))
	ids, err := layersIn("aufs", string(home))
	must(t, err)
	for _, id := range ids {
		if record, err := home.ReadForm(id); err != nil || record.Converting {
			t.Errorf("layer %s: %+v, %v", id, record, err)
		}
	}
}

// TestMoveTwice moves a store by two calls at once.
func TestMoveTwice(t *testing.T) {
	m, has := newMovedStore(t, 10)
	for _, driver := range []string{"overlay", "aufs"} {
		var calls sync.WaitGroup
		for range 3 {
			calls.Add(1)
			go func() {
				defer calls.Done()
				if out, err := m.command(driver).CombinedOutput(); err != nil && !strings.Contains(string(out), "another call is moving the store") {
					t.Errorf("%v\n%s", err, out)
				}
			}()
		}
		calls.Wait()
		m.move(t, driver)
		m.looksLike(t, driver, has)
	}
}

// TestMoveRefused has stores that cannot move. They stay as they are.
func TestMoveRefused(t *testing.T) {
	mounted := func(t *testing.T, dir string) {
		t.Helper()
		must(t, os.MkdirAll(dir, 0o700))
		must(t, unix.Mount("none", dir, "tmpfs", 0, ""))
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	for name, c := range map[string]struct {
		do   func(t *testing.T, m movedStore)
		word string
	}{
		"a disk of its own for the other home": {func(t *testing.T, m movedStore) { mounted(t, m.root+"/overlay") }, "on a mount of its own"},
		"a mount in the home":                  {func(t *testing.T, m movedStore) { mounted(t, m.root+"/aufs/tmp/x") }, "/aufs/tmp/x"},
		"a mount in the other home":            {func(t *testing.T, m movedStore) { mounted(t, m.root+"/overlay/x/mapped/0") }, "/mapped/0"},
		"a link to the other home":             {func(t *testing.T, m movedStore) { must(t, os.Symlink(t.TempDir(), m.root+"/overlay")) }, "is no directory"},
		"a store of the other driver": {func(t *testing.T, m movedStore) {
			s := m.open(t, "overlay")
			_, _, err := s.PutLayer("", "", nil, "", false, nil, layerArchive(t, "file", "file"))
			must(t, err)
			shutDown(t, s)
		}, "has records already"},
		"a layer without a record": {func(t *testing.T, m movedStore) { must(t, os.Mkdir(m.root+"/aufs/diff/x", 0o700)) }, "would be lost: x"},
		"kept content": {func(t *testing.T, m movedStore) {
			layers, err := os.ReadDir(m.root + "/aufs/diff")
			must(t, err)
			must(t, os.MkdirAll(m.root+"/aufs/kept/"+layers[0].Name(), 0o700))
		}, "had content that the layer does not show"},
		"records cut short": {func(t *testing.T, m movedStore) {
			// A call was killed when the checks were done, and a layer cannot move any more.
			first := &move{root: m.root, from: "aufs", to: "overlay"}
			must(t, first.setAside())
			m.isClosed(t)
			layers, err := os.ReadDir(m.root + "/aufs/diff")
			must(t, err)
			must(t, os.MkdirAll(m.root+"/aufs/kept/"+layers[0].Name(), 0o700))
		}, "had content that the layer does not show"},
	} {
		t.Run(name, func(t *testing.T) {
			m, has := newMovedStore(t, 2)
			c.do(t, m)
			out, err := m.command("overlay").CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.word) {
				t.Errorf("%v\n%s", err, out)
			}
			if entries, err := filepath.Glob(m.root + "/moving-*"); err != nil || len(entries) > 0 {
				t.Errorf("there are %q, %v", entries, err)
			}
			s := m.open(t, "aufs")
			defer shutDown(t, s)
			if got := picture(t, s); got != has {
				t.Errorf("the store has\n%s\n\nand it had\n%s", got, has)
			}
		})
	}
}
