//go:build linux && (amd64 || arm64)

package drivertest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// TestFullDisk has a store on a full disk. An operation that needs space says so, and leaves nothing half done; operations that read or
// make space work. Once there is space again, everything works.
func TestFullDisk(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		if name == backend.Aufs {
			// Aufs's own files do not find room either.
			t.Cleanup(wire.ExpectMessages("an error(-28) on the writable branch"))
		}
		disk := newDisk(t).dir
		s := openStore(t, filepath.Join(disk, "home"), name)
		s.create(t, "", "base", "child", "grandchild")
		s.create(t, "base", "big")
		// The layer's file of parents is empty, so the removal of that file makes no room.
		s.create(t, "", "alone")
		s.apply(t, "alone", "", entry{Name: "f", Content: strings.Repeat("f", 1<<20)})
		s.apply(t, "base", "", entry{Name: "d/"}, entry{Name: "d/f", Content: "f"}, entry{Name: "gone", Content: "x"})
		s.change(t, "child", func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "gone")))
			must(t, os.RemoveAll(filepath.Join(dir, "d")))
			write(t, dir, files{"d/g": "g"})
		})
		want := s.see(t, "child")

		tooBig := func() {
			t.Helper()
			_, err := s.ApplyDiff("big", "base", driver.ApplyOptions{
				Diff: archiveOf(t, entry{Name: "small", Content: "s"}, entry{Name: "large", Content: strings.Repeat("l", 64<<20)}),
			})
			// If the library unpacks in a child process, it has only the text of the child's error.
			wants(t, err, nil, "big", unix.ENOSPC.Error())
			sameNames(t, readTree(t, s.inner.Home.Diff("big")).Names())
		}
		tooBig()
		noLeftovers(t, s)

		// Fill the disk while a container works in the layer.
		dir := s.get(t, "grandchild")
		must(t, os.Remove(filepath.Join(dir, "d/g")))
		filler := fill(t, disk)
		doneOrFull := func(what string, err error) {
			t.Helper()
			if err != nil && !errors.Is(err, unix.ENOSPC) {
				t.Errorf("%s: %v", what, err)
			}
			t.Logf("%s on a full disk: %v", what, err)
		}
		doneOrFull("Put", s.Put("grandchild"))
		doneOrFull("Create", s.Create("new", "base", nil))
		_, err := s.Get("child", driver.GetOptions{})
		doneOrFull("Get", err)
		if err == nil {
			sameTree(t, readTree(t, s.inner.Home.Mnt("child")), want)
			doneOrFull("Put", s.Put("child"))
		}
		tooBig()
		packed, err := s.Diff("child", nil, "base", nil)
		must(t, err)
		must(t, drain(packed))
		must(t, s.Remove("alone"))
		if _, err := os.Lstat(s.inner.Home.Diff("alone")); !os.IsNotExist(err) {
			t.Errorf("the files of a layer that is removed are there: %v", err)
		}
		must(t, s.Remove("big"))
		// Whoever wants to remove layers has to open the store first.
		other, err := reopen(string(s.inner.Home), name)
		must(t, err)
		must(t, other.Remove("grandchild"))

		must(t, os.Remove(filler))
		s, err = reopen(string(s.inner.Home), name)
		must(t, err)
		must(t, s.Cleanup())
		for _, id := range []string{"base", "child"} {
			s.oneForm(t, id)
		}
		sameTree(t, s.see(t, "child"), want)
		noLeftovers(t, s)
	})
}

// TestFullDiskWithoutLocks opens a store on a full disk and removes a layer from it. The store has no lock files yet, as earlier drivers
// leave it.
func TestFullDiskWithoutLocks(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		if name == backend.Aufs {
			// See TestFullDisk.
			t.Cleanup(wire.ExpectMessages("an error(-28) on the writable branch"))
		}
		for what, ours := range map[string][]string{"in-tree driver's": {store.OverlayDir, store.TmpDir}, "earlier version's": {"overlay/store.lock", "overlay/mounts.lock"}} {
			t.Run(what, func(t *testing.T) {
				disk := newDisk(t).dir
				s := openStore(t, filepath.Join(disk, "home"), name)
				s.create(t, "", "base")
				s.apply(t, "base", "", entry{Name: "f", Content: "f"})
				must(t, s.Cleanup())
				for _, path := range ours {
					must(t, os.RemoveAll(filepath.Join(string(s.inner.Home), path)))
				}
				filler := fill(t, disk)
				r, err := reopen(string(s.inner.Home), name)
				must(t, err)
				must(t, r.Remove("base"))
				must(t, r.Cleanup())
				must(t, os.Remove(filler))
				noLeftovers(t, s)
			})
		}
	})
}

// fill fills a disk, and returns the path of the file that takes the space.
func fill(t *testing.T, disk string) string {
	t.Helper()
	path := filepath.Join(disk, "filler")
	f, err := os.Create(path)
	must(t, err)
	for size := 64 << 10; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err != nil:
			t.Fatal(err)
		}
	}
	must(t, f.Close())
	return path
}
