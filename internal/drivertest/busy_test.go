//go:build linux

package drivertest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// holding is a way to keep the mount of a layer, at dir, in use.
type holding struct {
	name string
	// hold returns what the error must say about the holder, and a function that lets go of the mount.
	hold func(t *testing.T, dir string) (named []string, end func())
}

var holdings = []holding{
	{"open file", func(t *testing.T, dir string) ([]string, func()) {
		f, err := os.Open(filepath.Join(dir, "precious"))
		must(t, err)
		return []string{strconv.Itoa(os.Getpid()), "open", filepath.Join(dir, "precious")}, func() { must(t, f.Close()) }
	}},
	{"mapped file", func(t *testing.T, dir string) ([]string, func()) {
		f, err := os.Open(filepath.Join(dir, "precious"))
		must(t, err)
		memory, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ, unix.MAP_SHARED)
		must(t, errors.Join(err, f.Close()))
		return []string{strconv.Itoa(os.Getpid()), "precious"}, func() { must(t, unix.Munmap(memory)) }
	}},
	{"working directory", func(t *testing.T, dir string) ([]string, func()) {
		c := exec.Command("sleep", "1000")
		c.Dir = filepath.Join(dir, "d")
		must(t, c.Start())
		return []string{strconv.Itoa(c.Process.Pid), "sleep", "working directory", filepath.Join(dir, "d")}, func() {
			must(t, c.Process.Kill())
			_ = c.Wait() // it was killed
		}
	}},
	{"nested mount", func(t *testing.T, dir string) ([]string, func()) {
		on := filepath.Join(dir, "d")
		must(t, unix.Mount("none", on, "tmpfs", 0, ""))
		return []string{on, "mounted inside the mount"}, func() { must(t, unix.Unmount(on, 0)) }
	}},
}

// TestBusy shows that a layer that is in use keeps all of its data, that the error names the user, and that the operation succeeds once the
// user is gone.
func TestBusy(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, held := range holdings {
			t.Run(held.name, func(t *testing.T) {
				for op, do := range map[string]func(s testStore) error{
					"Put":     func(s testStore) error { return s.Put("child") },
					"Remove":  func(s testStore) error { return s.Remove("child") },
					"Cleanup": func(s testStore) error { return s.Cleanup() },
				} {
					if op == "Cleanup" && held.name == "nested mount" {
						// Cleanup unmounts everything.
						continue
					}
					t.Run(op, func(t *testing.T) {
						t.Parallel()
						s := newStore(t, name)
						s.create(t, "", "base", "child")
						dir := s.get(t, "child")
						write(t, dir, files{"precious": "data", "d/": ""})
						named, end := held.hold(t, dir)
						defer func() {
							if t.Failed() {
								end()
							}
						}()
						err := do(s)
						wants(t, err, unix.EBUSY, append(named, "child")...)
						var busy *mountutil.BusyError
						if !errors.As(err, &busy) || busy.Target != dir || len(busy.Holders) == 0 {
							t.Errorf("%#v is no *BusyError that tells all", err)
						}
						for _, path := range []string{dir, s.inner.Home.Diff("child")} {
							content, err := os.ReadFile(filepath.Join(path, "precious"))
							if err != nil || string(content) != "data" {
								t.Errorf("the data in %s is %q, %v", path, content, err)
							}
						}
						end()
						must(t, do(s))
						if op != "Remove" {
							sameNames(t, s.see(t, "child").Names(), "d", "precious")
							return
						}
						_, err = s.Get("child", driver.GetOptions{})
						wants(t, err, store.ErrLayerUnknown, "child")
					})
				}
			})
		}
	})
}

// TestBusyElsewhere copies the mount into another mount namespace. The copy, which is not visible here, does not keep anybody from
// unmounting the layer here, and the unmount takes nothing from the layer.
func TestBusyElsewhere(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for op, do := range map[string]func(s testStore) error{
			"Put":     func(s testStore) error { return s.Put("child") },
			"Cleanup": func(s testStore) error { return s.Cleanup() },
		} {
			t.Run(op, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "child")
				write(t, s.inner.Home.Diff("base"), files{"gone": ""})
				s.change(t, "child", func(dir string) { write(t, dir, files{"precious": "data"}) })
				dir := s.get(t, "child")
				must(t, os.Remove(filepath.Join(dir, "gone")))
				end := leak(t)
				must(t, do(s))
				noMounts(t, s.inner.Home.Mnt(""))
				sameNames(t, keysOf(s.diff(t, "child", "base")), ".wh.gone", "precious")
				end()
				sameNames(t, s.see(t, "child").Names(), "precious")
				s.hasForm(t, "child", s.written())
				must(t, s.Remove("child"))
			})
		}
	})
}

func TestBusyErrorIsShort(t *testing.T) {
	e := &mountutil.BusyError{Target: "/t"}
	if !strings.Contains(e.Error(), "nothing in /proc") {
		t.Error(e)
	}
	for pid := range 100 {
		e.Holders = append(e.Holders, mountutil.Holder{PID: 1000 + pid, Command: "c", How: "has a file of it open", Path: "/f"})
	}
	if text := e.Error(); strings.Contains(text, "1005") || !strings.Contains(text, "1004") || !strings.Contains(text, "and 95 more") {
		t.Error(text)
	}
}

// TestPutCovered mounts something on top of a layer's mount: Put unmounts both.
func TestPutCovered(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		s.apply(t, "base", "", entry{Name: "foo", Content: "f"}, entry{Name: "kept", Content: "k"}, entry{Name: "link", Link: "kept"})
		dir := s.get(t, "child")
		must(t, os.Remove(filepath.Join(dir, "foo")))
		must(t, os.WriteFile(filepath.Join(dir, "kept"), []byte("changed"), 0o600))
		must(t, unix.Mount("none", dir, "tmpfs", 0, ""))
		must(t, s.Put("child"))
		if mounted, err := mountutil.IsMounted(dir); err != nil || mounted {
			t.Errorf("mounted: %v, %v", mounted, err)
		}
		s.hasForm(t, "child", s.written())
		want := []string{".wh.foo", "kept"}
		if name == backend.Aufs {
			// On aufs the names of a file stay together.
			want = append(want, "link")
		}
		sameNames(t, keysOf(s.diff(t, "child", "base")), want...)
	})
}
