//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

func mountedAt(t *testing.T, target string) bool {
	t.Helper()
	mounted, err := mountutil.IsMounted(target)
	must(t, err)
	return mounted
}

func TestGetOfBaseIsItsDirectory(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		// Neither a Put without a Get nor ReadWriteDiskUsage must change what Get returns.
		must(t, s.Put("base"))
		_, err := s.ReadWriteDiskUsage("base")
		must(t, err)
		for range 2 {
			if dir := s.get(t, "base"); dir != s.inner.Home.Diff("base") {
				t.Errorf("got %s", dir)
			}
			must(t, s.Put("base"))
		}
		noMounts(t, s.inner.Home.Mnt(""))
	})
}

func TestGetShowsTheStack(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "top")
		write(t, s.inner.Home.Diff("base"), files{"a": "base", "b": "base", "c": "base"})
		write(t, s.inner.Home.Diff("middle"), files{"b": "middle", "c": "middle"})
		write(t, s.inner.Home.Diff("top"), files{"c": "top"})
		dir := s.get(t, "top")
		if dir != s.inner.Home.Mnt("top") {
			t.Errorf("mounted at %s", dir)
		}
		for name, want := range map[string]string{"a": "base", "b": "middle", "c": "top"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || string(content) != want {
				t.Errorf("%s: %q, %v", name, content, err)
			}
		}
		must(t, s.Put("top"))
	})
}

func TestGetIsCounted(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		target := s.get(t, "child")
		s.get(t, "child")
		s.get(t, "child")
		for range 2 {
			must(t, s.Put("child"))
			if !mountedAt(t, target) {
				t.Fatal("unmounted before the last Put")
			}
		}
		must(t, s.Put("child"))
		if mountedAt(t, target) {
			t.Fatal("mounted after the last Put")
		}
		// One Put too many does nothing, and does not spoil the count.
		must(t, s.Put("child"))
		s.get(t, "child")
		must(t, s.Put("child"))
		if mountedAt(t, target) {
			t.Error("mounted after one Get and one Put")
		}
	})
}

// TestGetOfAnotherDriversMount uses a layer that another driver has mounted. This driver must not unmount it.
func TestGetOfAnotherDriversMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		target := s.get(t, "child")
		other := openStore(t, string(s.inner.Home), name)
		other.get(t, "child")
		must(t, other.Put("child"))
		if !mountedAt(t, target) {
			t.Fatal("the other driver has unmounted it")
		}
		write(t, target, files{"still": "works"})
		must(t, s.Put("child"))
		if mountedAt(t, target) {
			t.Error("it is still mounted")
		}
		s.oneForm(t, "child")
	})
}

func TestGetOfManyAtOnce(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle")
		write(t, s.inner.Home.Diff("middle"), files{".wh.gone": "", "d/.wh..wh..opq": "", "d/f": "f"})
		var wg sync.WaitGroup
		errs := make(chan error, 100)
		for i := range 4 {
			id := fmt.Sprintf("layer%d", i)
			must(t, s.Create(id, "middle", nil))
			for range 2 {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for range 5 {
						dir, err := s.Get(id, driver.GetOptions{})
						if err == nil {
							_, err = os.Lstat(filepath.Join(dir, "d", "f"))
							err = errors.Join(err, s.Put(id))
						}
						errs <- err
					}
				}()
			}
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			must(t, err)
		}
		noMounts(t, s.inner.Home.Mnt(""))
	})
}

func TestMountFlags(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name, withMountOptions("nodev,noexec"))
		s.create(t, "", "base", "child")
		options := func() string {
			mounts, err := mountutil.MountsHere(mountinfo.SingleEntryFilter(s.inner.Home.Mnt("child")))
			if err != nil || len(mounts) != 1 {
				t.Fatalf("%v, %v", mounts, err)
			}
			return "," + mounts[0].Options + "," + mounts[0].VFSOptions + ","
		}
		for _, c := range []struct {
			given         []string
			set, notThere []string
		}{
			{nil, []string{"nodev", "noexec"}, []string{"nosuid", "ro"}},
			{[]string{"nosuid"}, []string{"nosuid"}, []string{"nodev", "noexec"}},
			{[]string{"ro", "nodev", "nosuid", "noexec", "noatime"}, []string{"ro", "nodev", "nosuid", "noexec", "noatime"}, nil},
			{[]string{"rw"}, []string{"rw"}, []string{"nodev"}},
		} {
			dir := s.get(t, "child", c.given...)
			got := options()
			for _, option := range c.set {
				if !strings.Contains(got, ","+option+",") {
					t.Errorf("%q: %s lacks %s", c.given, got, option)
				}
			}
			for _, option := range c.notThere {
				if strings.Contains(got, ","+option+",") {
					t.Errorf("%q: %s has %s", c.given, got, option)
				}
			}
			err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)
			if len(c.given) > 0 && c.given[0] == "ro" {
				wants(t, err, unix.EROFS)
			} else {
				must(t, err)
			}
			must(t, s.Put("child"))
		}
	})
}

// TestReadOnlyMount checks that files that a layer deletes stay deleted in a mount without a writable branch.
func TestReadOnlyMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		write(t, s.inner.Home.Diff("base"), files{"gone": "1", "kept": "2", "d/hidden": "3"})
		write(t, s.inner.Home.Diff("child"), files{".wh.gone": "", "d/.wh..wh..opq": "", "d/new": "4"})
		before := readTree(t, s.inner.Home.Diff("child"))
		sameNames(t, s.see(t, "child", "ro").Names(), "kept", "d", "d/new")
		sameTree(t, readTree(t, s.inner.Home.Diff("child")), before)
		sameNames(t, s.see(t, "child").Names(), "kept", "d", "d/new")
	})
}

func TestGetRefusesOptions(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		for option, words := range map[string][]string{
			"ro,rw": {"child", `"ro"`, `"rw"`}, "metacopy=on": {"child", "metacopy=on"}, "br=/etc": {"child", "br=/etc"},
		} {
			_, err := s.Get("child", driver.GetOptions{Options: []string{option}})
			wants(t, err, nil, words...)
		}
		_, err := s.Get("base", driver.GetOptions{Options: []string{"bogus"}})
		wants(t, err, nil, "base", "bogus")
		noMounts(t, s.inner.Home.Mnt(""))
	})
}

// TestFailedGetLeavesNothing makes Get fail, first because an ancestor is damaged, and then because the mount point is damaged.
func TestFailedGetLeavesNothing(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "child")
		write(t, s.inner.Home.Diff("child"), files{".wh.x": ""})
		before := readTree(t, s.inner.Home.Diff("child"))
		away := filepath.Join(string(s.inner.Home), "away")
		must(t, os.Rename(s.inner.Home.Diff("base"), away))
		_, err := s.Get("child", driver.GetOptions{})
		wants(t, err, fs.ErrNotExist, "child", "base", s.inner.Home.Diff("base"))
		must(t, os.WriteFile(s.inner.Home.Diff("base"), nil, 0o600))
		_, err = s.Get("child", driver.GetOptions{})
		wants(t, err, nil, "base", "not a directory")
		must(t, os.Remove(s.inner.Home.Diff("base")))
		must(t, os.Rename(away, s.inner.Home.Diff("base")))

		must(t, os.Remove(s.inner.Home.Mnt("child")))
		must(t, os.WriteFile(s.inner.Home.Mnt("child"), nil, 0o600))
		_, err = s.Get("child", driver.GetOptions{})
		wants(t, err, unix.ENOTDIR, "child")
		must(t, os.Remove(s.inner.Home.Mnt("child")))

		noMounts(t, s.inner.Home.Mnt(""))
		sameTree(t, readTree(t, s.inner.Home.Diff("child")), before)
		s.oneForm(t, "child")
		// The failed Gets left no count, so that one Put ends one Get. Get also makes the missing mount point again.
		target := s.get(t, "child")
		must(t, s.Put("child"))
		if mountedAt(t, target) {
			t.Error("a failed Get has left a count")
		}
	})
}

// TestMissingDiff uses a layer whose own directory is gone.
func TestMissingDiff(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		must(t, os.RemoveAll(s.inner.Home.Diff("child")))
		_, err := s.Get("child", driver.GetOptions{})
		wants(t, err, fs.ErrNotExist, "child", s.inner.Home.Diff("child"))
		must(t, s.Remove("child"))
	})
}

// TestCleanup checks that Cleanup unmounts the mounts of this driver and of others, and walks through none of them.
func TestCleanup(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "one")
		s.create(t, "base", "two")
		one, two := s.get(t, "one"), s.get(t, "two")
		write(t, one, files{"f": "f"})
		// This is a mount inside of a mount, like a container's volume.
		must(t, os.Mkdir(filepath.Join(two, "volume"), 0o755))
		must(t, unix.Mount(one, filepath.Join(two, "volume"), "", unix.MS_BIND, ""))
		must(t, s.Cleanup())
		noMounts(t, string(s.inner.Home))
		s.oneForm(t, "one")
		s.oneForm(t, "two")
		if mounted, err := mountutil.IsMounted(string(s.inner.Home)); err != nil || mounted {
			t.Errorf("home is mounted: %v, %v", mounted, err)
		}
		// The store still works.
		sameNames(t, s.see(t, "one").Names(), "f")
	})
}

func TestMountID(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := newStore(t, backend.Aufs)
		s.create(t, "", "base", "child", "other")
		s.get(t, "other")
		target := s.get(t, "child")
		id, err := aufsfs.MountID(target)
		must(t, err)
		if byPath, err := aufsfs.MountIDByPath(target); id == "" || byPath != id || err != nil {
			t.Errorf("%q, and by its path %q, %v", id, byPath, err)
		}
		if other, err := aufsfs.MountID(s.inner.Home.Mnt("other")); other == id || err != nil {
			t.Errorf("the other one is %q, %v", other, err)
		}
		if used, err := s.inner.Forms.Users.AufsUses("child"); err != nil || !used {
			t.Errorf("used: %t, %v", used, err)
		}
		must(t, s.Put("child"))
		if used, err := inuse.InAnyMountinfo("aufs", "si="+id); err != nil || used {
			t.Errorf("in mountinfo: %t, %v", used, err)
		}
		_, err = aufsfs.MountID(s.inner.Home.Mnt("child"))
		wants(t, err, nil, "child")
	})
}

func TestUnmount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	dir := t.TempDir()
	must(t, aufsfs.Unmount(dir))
	must(t, aufsfs.Unmount(filepath.Join(dir, "nothing")))
	must(t, unix.Mount("none", dir, "tmpfs", 0, ""))
	f, err := os.Create(filepath.Join(dir, "f"))
	must(t, err)
	wants(t, aufsfs.Unmount(dir), unix.EBUSY, dir, strconv.Itoa(os.Getpid()), filepath.Join(dir, "f"))
	must(t, f.Close())
	must(t, aufsfs.Unmount(dir))
	if mountedAt(t, dir) {
		t.Error("it is still mounted")
	}
}

func TestMountErrorTellsAll(t *testing.T) {
	err := error(&mountutil.Error{Op: "mount", Target: "/t", Fstype: "aufs", Flags: 5, Data: "br:/a", Err: unix.EINVAL})
	wants(t, err, unix.EINVAL, "mount /t", "aufs", "0x5", "br:/a")
	var me *mountutil.Error
	if !errors.As(fmt.Errorf("around: %w", err), &me) {
		t.Error("errors.As does not find it")
	}
}

// TestNoteOfNoLayer puts a note into the run root about a layer that is gone. Open must remove the note, and leave nothing else.
func TestNoteOfNoLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		home, runRoot := filepath.Join(t.TempDir(), "home"), t.TempDir()
		o := configFor(name)
		o.RunRoot = runRoot
		d, err := driver.Open(home, o)
		must(t, err)
		must(t, d.Cleanup())
		must(t, store.LinkIn("0123456789abcdef", filepath.Join(runRoot, "home"), "gone"))
		d, err = driver.Open(home, o)
		must(t, err)
		must(t, d.Cleanup())
		sameNames(t, readTree(t, runRoot).Names(), "home")
		problems, err := maintenance.Check(t.Context(), home)
		if err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
	})
}
