//go:build linux

package aufs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"golang.org/x/sys/unix"
)

// TestDeferredRemove has the layer gone at once, and its files when they are to be deleted.
func TestDeferredRemove(t *testing.T) {
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 2 {
		// The process ends without the deletion.
		s, err := reopen(args[0], backendName(args[1]))
		must(t, err)
		_, err = s.DeferredRemove("child")
		must(t, err)
		return
	}
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		h := s.inner.home
		if roots := s.GetTempDirRootDirs(); len(roots) != 1 || roots[0] != h.tmp() {
			t.Errorf("temporary directories are in %q", roots)
		}
		layer := func() {
			t.Helper()
			s.create(t, "base", "child")
			s.change(t, "child", func(dir string) { write(t, dir, files{"d/f": "f"}) })
		}
		s.create(t, "", "base")
		layer()
		clean, err := s.DeferredRemove("child")
		must(t, err)
		_, err = s.Get("child", graphdriver.MountOpts{})
		wants(t, err, graphdriver.ErrLayerUnknown, "child")
		trash := func(want int) {
			t.Helper()
			found, err := filepath.Glob(filepath.Join(h.tmp(), trashPrefix+"*", "*", "d", "f"))
			must(t, err)
			if len(found) != want {
				t.Errorf("in the trash are %q", found)
			}
		}
		trash(1)
		// Neither another layer of this name, nor another driver, is disturbed, or disturbs.
		layer()
		_, err = reopen(string(h), name)
		must(t, err)
		if problems, err := Check(t.Context(), string(h)); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
		trash(1)
		must(t, clean())
		noLeftovers(t, s)
		must(t, clean())
		sameNames(t, s.see(t, "child").names(), "d", "d/f")

		clean, err = s.DeferredRemove("")
		if err == nil || clean == nil {
			t.Errorf("without an id: %v", err)
		}
		must(t, clean())

		c := exec.Command("/proc/self/exe", "-test.run=^TestDeferredRemove$")
		c.Env = append(os.Environ(), childVariable+"="+string(h)+"|"+string(name))
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		trash(1)
		if problems, err := Check(t.Context(), string(h)); err != nil || len(problems) != 2 || problems[0].Kind != Leftover {
			t.Errorf("%v, %v", problems, err)
		}
		_, err = reopen(string(h), name)
		must(t, err)
		noLeftovers(t, s)
	})
}

// TestTrashThatStays is about trash that cannot be deleted: it is called something else, under which the library does not try it.
func TestTrashThatStays(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it mounts")
	}
	h := storeOf(t)
	must(t, os.Mkdir(h.tmp(), 0o700))
	trash, err := h.newTrashLocked()
	must(t, err)
	busy := filepath.Join(trash.dir, "mnt")
	must(t, os.Mkdir(busy, 0o700))
	must(t, unix.Mount("tmpfs", busy, "tmpfs", 0, ""))
	f, err := os.Create(filepath.Join(busy, "f"))
	must(t, err)
	wants(t, trash.remove(), unix.EBUSY, "mnt")
	left := readTree(t, h.tmp()).names()
	if len(left) == 0 || !strings.HasPrefix(left[0], leftTrashPrefix) {
		t.Errorf("%q", left)
	}
	for _, name := range left {
		if isTrash(name) {
			t.Errorf("the library would find %s", name)
		}
	}
	must(t, f.Close())
	rubbish, err := (&Driver{home: h}).abandoned()
	must(t, err)
	for _, s := range rubbish {
		must(t, s.remove())
	}
	sameNames(t, readTree(t, h.tmp()).names())
}

// TestTrashNames is about what may be left of a trash directory, and of nothing but its lock file.
func TestTrashNames(t *testing.T) {
	h := storeOf(t)
	write(t, string(h), files{"tmp/lock-1": "", "tmp/temp-dir-2/0/f": "", "tmp/lock-3": "", "tmp/temp-dir-3/1/f": ""})
	rubbish, err := (&Driver{home: h}).abandoned()
	must(t, err)
	if len(rubbish) != 2 {
		t.Errorf("%d are abandoned", len(rubbish))
	}
	for _, s := range rubbish {
		if again, err := claimTrash(s.dir); again != nil || err != nil {
			t.Errorf("%s is claimed twice: %v", s.dir, err)
		}
		must(t, s.remove())
	}
	if left, err := os.ReadDir(h.tmp()); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if _, err := os.Lstat(lockOfTrash(trashOf("/x/lock-1"))); !errors.Is(err, os.ErrNotExist) || lockOfTrash(trashOf("/x/lock-1")) != "/x/lock-1" {
		t.Error("the two names are no pair")
	}
}
