//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// These tests have containers make a path of their layer lead to files of the host, while the driver works in the layer.

// confused are parts of the kernel's messages about processes of this test when a branch changes unexpectedly.
var confused = []string{"drivertest", "exe["}

// exchangedDirs are the directories of a layer that are exchanged with symbolic links. A directory comes before the one that it is in.
var exchangedDirs = []string{"d/e/g", "d/e", "d", "h", ".wh..wh.plnk", ".wh..wh.orph"}

// outsideTree makes files that are in no layer. If they were in a layer, a driver would change them. Each of exchangedDirs has a counterpart
// among them.
func outsideTree(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "outside")
	for _, rel := range append([]string{"."}, exchangedDirs...) {
		dir := filepath.Join(root, rel)
		write(t, dir, files{
			"f": "secret", ".wh.gone": "", ".wh..wh..opq": "", ".wh..wh.odd": "", "f.1": "", "1.2": "", "100.200": "", "sub/f": "s",
		})
		must(t, unix.Mknod(filepath.Join(dir, "w"), unix.S_IFCHR, 0))
		must(t, os.Chmod(filepath.Join(dir, "f"), 0o640))
		for _, path := range []string{dir, filepath.Join(dir, "f"), filepath.Join(dir, "w"), filepath.Join(dir, "sub")} {
			must(t, unix.Lsetxattr(path, "trusted.overlay.opaque", []byte("y"), 0))
			must(t, unix.Lsetxattr(path, "trusted.overlay.origin", nil, 0))
		}
	}
	return root
}

// allOf returns all that can be known about the files of a tree, except the times of access.
func allOf(t *testing.T, dir string) tree {
	t.Helper()
	all := readTree(t, dir)
	for rel := range all {
		st, err := fsutil.LstatOf(filepath.Join(dir, rel))
		must(t, err)
		all[rel] += fmt.Sprintf(" %d %d links %d bytes %d.%d %d.%d", st.Ino, st.Nlink, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
	}
	return all
}

// layerTree makes a layer that has something for the driver to do in each of its directories.
func layerTree(t *testing.T, dir string) {
	t.Helper()
	for _, rel := range []string{".", "d", "d/e", "d/e/g", "h"} {
		write(t, filepath.Join(dir, rel), files{"f": "f", ".wh.gone": "", "n/f": "", "n/.wh.gone": ""})
	}
	write(t, dir, files{"h/.wh..wh..opq": "", ".wh..wh.plnk/1.2": "", ".wh..wh.orph/f": "", "g": "g"})
}

// keepExchanging exchanges directories of the tree at root with symbolic links to the same directories of outside, and back, until the
// caller calls stop, which returns the number of exchanges.
func keepExchanging(t *testing.T, root, outside string) (stop func() int64) {
	t.Helper()
	links, err := os.MkdirTemp(root, "links-")
	must(t, err)
	top, err := fsutil.OpenReal(links)
	must(t, err)
	type pair struct {
		above      fsutil.Dir
		name, link string
		away       bool
	}
	var pairs []*pair
	for n, rel := range exchangedDirs {
		above, err := fsutil.OpenBelow(root, filepath.Dir(rel))
		if err != nil {
			// The tree does not have the directory that contains rel.
			continue
		}
		link := fmt.Sprint("link", n)
		must(t, os.Symlink(filepath.Join(outside, rel), filepath.Join(links, link)))
		pairs = append(pairs, &pair{above: above, name: filepath.Base(rel), link: link})
	}
	var swaps atomic.Int64
	swap := func(p *pair) {
		if unix.Renameat2(p.above.Fd, p.name, top.Fd, p.link, unix.RENAME_EXCHANGE) == nil {
			p.away = !p.away
			swaps.Add(1)
		}
	}
	end := make(chan struct{})
	var ended sync.WaitGroup
	ended.Add(1)
	go func() {
		defer ended.Done()
		for {
			select {
			case <-end:
				return
			default:
			}
			// Exchange one after the other: with all of them away, the driver would do hardly anything in the tree.
			for _, p := range pairs {
				for range 10 {
					swap(p)
				}
			}
		}
	}()
	for n := 0; swaps.Load() == 0 && n < 10_000; n++ {
		time.Sleep(time.Millisecond)
	}
	return sync.OnceValue(func() int64 {
		close(end)
		ended.Wait()
		for _, p := range pairs {
			if p.away {
				swap(p)
			}
			p.above.Close()
		}
		top.Close()
		_ = os.RemoveAll(links)
		return swaps.Load()
	})
}

// inTime fails the test if do hangs.
func inTime(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not come to its end")
	}
}

// attributedArchive returns an archive of files that have an attribute of overlayfs.
func attributedArchive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{"d/", "d/e/", "d/e/new", "h/new", "mine/", "mine/d/", "mine/d/e/", "mine/d/e/new", "mine/h/new"} {
		h := &tar.Header{Name: name, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.origin": "x"}}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		must(t, w.WriteHeader(h))
	}
	must(t, w.Close())
	return b.Bytes()
}

// errAny are the errors of an operation. It may fail, as long as it does no harm.
type errAny = []error

// An exchangedOperation is something that a driver does with the layers base, mid and top, each on top of the one before, while directories
// in layer are exchanged. TestOwnNamesOfOthers, which repeats the operations with many layers, leaves out those that are slow.
type exchangedOperation struct {
	name  string
	layer string
	slow  bool
	do    func(s testStore) errAny
}

func (s testStore) mountAndPut(id string) errAny {
	_, err := s.Get(id, driver.GetOptions{})
	return errAny{err, s.Put(id)}
}

func (s testStore) applyBytes(id, parent string, content []byte) error {
	_, err := s.ApplyDiff(id, parent, driver.ApplyOptions{Diff: bytes.NewReader(content)})
	return err
}

// applyToNew makes a layer on top of parent, applies an archive to it, and removes it.
func (s testStore) applyToNew(parent string, content []byte) errAny {
	return errAny{s.Create("new", parent, nil), s.applyBytes("new", parent, content), s.Remove("new")}
}

func (s testStore) readAll(id, parent string) errAny {
	var errs errAny
	if r, err := s.Diff(id, nil, parent, nil); err == nil {
		errs = append(errs, drain(r))
	}
	_, cerr := s.Changes(id, nil, parent, nil)
	_, serr := s.DiffSize(id, nil, parent, nil)
	_, uerr := s.inner.ReadWriteDiskUsage(id)
	if g, err := s.inner.DiffGetter(id); err == nil {
		if f, err := g.Get("d/e/f"); err == nil {
			_, err = io.Copy(io.Discard, f)
			errs = append(errs, err, f.Close())
		}
		errs = append(errs, g.Close())
	}
	return append(errs, cerr, serr, uerr)
}

// inOverlayForm leaves the layer id as a process does that dies while it has the layer mounted.
func (s testStore) inOverlayForm(id string) error {
	return s.inner.Forms.ToOverlay(id, store.OwnForm(), func() bool { return false })
}

func exchangedOperations(t *testing.T) []exchangedOperation {
	archive := attributedArchive(t)
	nobody := idmapsOf([]idmap.Map{{ContainerID: 0, HostID: 1000, Size: 1000}}, []idmap.Map{{ContainerID: 0, HostID: 1000, Size: 1000}})
	home := func(s testStore) string { return string(s.inner.Home) }
	return []exchangedOperation{
		{name: "Get and Put", layer: "top", do: func(s testStore) errAny { return s.mountAndPut("top") }},
		{name: "Get of a child", layer: "mid", do: func(s testStore) errAny {
			return append(errAny{s.inner.Home.Invalidate("mid")}, s.mountAndPut("top")...)
		}},
		{name: "Get on the base", layer: "base", slow: true, do: func(s testStore) errAny {
			return append(errAny{s.inner.Home.Invalidate("base")}, s.mountAndPut("top")...)
		}},
		{name: "read", layer: "top", do: func(s testStore) errAny { return s.readAll("top", "mid") }},
		{name: "read a child", layer: "mid", do: func(s testStore) errAny { return s.readAll("top", "mid") }},
		{name: "read against another", layer: "base", slow: true, do: func(s testStore) errAny { return s.readAll("top", "base") }},
		{name: "ApplyDiff", layer: "base", do: func(s testStore) errAny { return errAny{s.applyBytes("base", "", archive)} }},
		{name: "ApplyDiff to a layer with content", layer: "top", do: func(s testStore) errAny { return errAny{s.applyBytes("top", "mid", archive)} }},
		{name: "ApplyDiff to a child", layer: "mid", slow: true, do: func(s testStore) errAny { return s.applyToNew("mid", archive) }},
		{name: "Remove", layer: "top", do: func(s testStore) errAny {
			return errAny{s.Remove("top"), s.Create("top", "mid", nil)}
		}},
		{name: "UpdateLayerIDMap", layer: "base", slow: true, do: func(s testStore) errAny {
			return errAny{s.UpdateLayerIDMap("base", &idmap.Mappings{}, nobody, ""), s.UpdateLayerIDMap("base", nobody, &idmap.Mappings{}, "")}
		}},
		{name: "Check", layer: "top", do: func(s testStore) errAny {
			_, err := maintenance.Check(t.Context(), home(s))
			return errAny{err}
		}},
		{name: "Repair", layer: "top", do: func(s testStore) errAny {
			merr := s.inOverlayForm("top")
			_, err := maintenance.Repair(t.Context(), home(s))
			return errAny{merr, err}
		}},
		{name: "Init", layer: "top", do: func(s testStore) errAny {
			merr := s.inOverlayForm("top")
			_, err := reopen(home(s), s.backend)
			return errAny{merr, err}
		}},
		{name: "from a template", layer: "top", slow: true, do: func(s testStore) errAny {
			return errAny{s.CreateFromTemplate("new", "top", nil, false), s.Remove("new")}
		}},
	}
}

// newExchanged returns a store with the layers base, mid and top.
func newExchanged(t *testing.T, name backend.Name) testStore {
	t.Helper()
	s := newStore(t, name)
	s.create(t, "", "base", "mid", "top")
	for _, id := range []string{"base", "mid", "top"} {
		layerTree(t, s.inner.Home.Diff(id))
		must(t, s.inner.Home.Invalidate(id))
	}
	return s
}

// TestExchangedDirectories has a container exchange directories of its layer with symbolic links, while the driver does each of
// exchangedOperations. No file outside of the store may change.
func TestExchangedDirectories(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		t.Cleanup(wire.ExpectMessages(confused...))
		for _, op := range exchangedOperations(t) {
			t.Run(op.name, func(t *testing.T) {
				s := newExchanged(t, name)
				outside := outsideTree(t)
				want := allOf(t, outside)
				stop := keepExchanging(t, s.inner.Home.Diff(op.layer), outside)
				defer stop()
				failed := 0
				inTime(t, func() {
					for range 5 {
						if errors.Join(op.do(s)...) != nil {
							failed++
						}
					}
				})
				t.Logf("%d failed, %d times exchanged", failed, stop())
				if stop() == 0 {
					t.Error("nothing was exchanged")
				}
				sameTree(t, allOf(t, outside), want)
				// Unmount what an operation has left mounted.
				_ = s.Put("top")
			})
		}
	})
}

// TestExchangedInAMount is TestExchangedDirectories for what a container can do in its mount.
func TestExchangedInAMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		t.Cleanup(wire.ExpectMessages(confused...))
		s := newExchanged(t, name)
		s.create(t, "top", "child")
		outside := outsideTree(t)
		want := allOf(t, outside)
		// Overlayfs does not exchange directories that a lower layer has.
		dir := filepath.Join(s.get(t, "child"), "mine")
		write(t, dir, files{"d/e/g/f": "f", "h/f": "f"})
		archive := attributedArchive(t)
		stop := keepExchanging(t, dir, outside)
		defer stop()
		inTime(t, func() {
			for range 5 {
				_ = s.readAll("child", "top")
				_ = s.applyBytes("child", "top", archive)
				_, _ = maintenance.Check(t.Context(), string(s.inner.Home))
			}
			// Unmount while the directories are being exchanged.
			_ = s.Put("child")
		})
		if stop() == 0 {
			t.Error("nothing was exchanged")
		}
		sameTree(t, allOf(t, outside), want)
		_ = s.Put("child")
	})
}
