//go:build linux && (amd64 || arm64)

package drivertest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/faults"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// isVolatile reports whether mountinfo shows that the mount at target is volatile. Newer kernels show fsync=volatile.
func isVolatile(t *testing.T, target string) bool {
	t.Helper()
	mounts, err := mountutil.MountsHere(mountinfo.SingleEntryFilter(target))
	must(t, err)
	return len(mounts) > 0 && slices.ContainsFunc(strings.Split(mounts[len(mounts)-1].VFSOptions, ","), func(option string) bool {
		return option == "volatile" || option == "fsync=volatile"
	})
}

// hasVolatile reports whether the backend can mount volatile: overlayfs can since Linux 5.10.
func hasVolatile(t *testing.T, name backend.Name) bool {
	t.Helper()
	return name == backend.Overlay && fsutil.KernelFrom(5, 10)
}

// needVolatile skips the test of overlayfs if this kernel's refuses the option. Aufs takes it for one that it does not need.
func needVolatile(t *testing.T, name backend.Name) {
	t.Helper()
	if name == backend.Overlay {
		needKernel(t, 5, 10, "this kernel's overlayfs has no volatile mounts")
	}
}

// onVolatile runs test on the overlay backend, if it can mount volatile.
func onVolatile(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	onOverlay(t, func(t *testing.T) {
		needVolatile(t, backend.Overlay)
		test(t)
	})
}

// leftVolatile fails the test unless want says whether the kernel would refuse to mount the layer child, because its last mount was
// volatile.
func (s testStore) leftVolatile(t *testing.T, want bool) {
	t.Helper()
	left, err := overlayfs.LeftVolatile(backend.WorkDir(s.inner.Home, "child"))
	if err != nil || left != want {
		t.Errorf("what a volatile mount leaves is there: %v, %v", left, err)
	}
}

// getVolatile is Get of a caller that does not need the layer after a power cut.
func (s testStore) getVolatile(t *testing.T, id string) string {
	t.Helper()
	dir, err := s.Get(id, driver.GetOptions{Volatile: true})
	must(t, err)
	return dir
}

// TestVolatile mounts a layer in each way to ask for a volatile mount, and then once more.
func TestVolatile(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, c := range map[string]struct {
			mountopt string
			get      driver.GetOptions
			want     bool
		}{
			"nothing":                {},
			"by the caller":          {get: driver.GetOptions{Volatile: true}, want: true},
			"by an option":           {get: driver.GetOptions{Options: []string{"volatile"}}, want: true},
			"by several":             {get: driver.GetOptions{Options: []string{"volatile,nodev", "volatile"}, Volatile: true}, want: true},
			"by mountopt":            {mountopt: "nodev,volatile", want: true},
			"mountopt replaced":      {mountopt: "volatile", get: driver.GetOptions{Options: []string{"nodev"}}},
			"read-only":              {get: driver.GetOptions{Options: []string{"ro", "volatile"}, Volatile: true}},
			"mountopt has sync":      {mountopt: "sync", get: driver.GetOptions{Volatile: true}},
			"mountopt has dirsync":   {mountopt: "dirsync", get: driver.GetOptions{Volatile: true}},
			"mountopt has async":     {mountopt: "async", get: driver.GetOptions{Volatile: true}, want: true},
			"with an option of aufs": {mountopt: "diropq=w", get: driver.GetOptions{Volatile: true}, want: true},
		} {
			t.Run(what, func(t *testing.T) {
				needVolatile(t, name)
				s := newStore(t, name, withMountOptions(c.mountopt))
				s.create(t, "", "base", "child")
				write(t, s.inner.Home.Diff("base"), files{"f": "f"})
				dir, err := s.Get("child", c.get)
				must(t, err)
				if got, want := isVolatile(t, dir), c.want && hasVolatile(t, name); got != want {
					t.Errorf("the mount is volatile: %v, and should be %v", got, want)
				}
				if !slices.Contains(c.get.Options, "ro") {
					write(t, dir, files{"f": "new", "g": "g"})
				}
				shown := readTree(t, dir)
				must(t, s.Put("child"))
				s.leftVolatile(t, false)
				sameTree(t, s.see(t, "child", "rw"), shown)
				sameTree(t, s.see(t, "child", "ro"), shown)
				sameTree(t, s.see(t, "child", "volatile"), shown)
				noLeftovers(t, s)
			})
		}
	})
}

// TestVolatileOfBase gets a layer that is not mounted at all.
func TestVolatileOfBase(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		if dir := s.getVolatile(t, "base"); dir != s.inner.Home.Diff("base") {
			t.Errorf("got %s", dir)
		}
		must(t, s.Put("base"))
		s.see(t, "base", "volatile", "nodev")
	})
}

// TestVolatileAfterKill mounts a layer again whose volatile mount no Put has ended.
func TestVolatileAfterKill(t *testing.T) {
	onVolatile(t, func(t *testing.T) {
		for what, lose := range map[string]func(t *testing.T, s testStore){
			"a reboot": func(t *testing.T, s testStore) {
				t.Helper()
				unmountLazily(t, string(s.inner.Home))
				s.leftVolatile(t, true)
			},
			"the mount stays": func(*testing.T, testStore) {},
			"a mount with aufs next": func(t *testing.T, s testStore) {
				t.Helper()
				unmountLazily(t, string(s.inner.Home))
				if hasBackend(t, backend.Aufs) {
					must(t, s.inner.Home.Sync())
					a := openStore(t, string(s.inner.Home), backend.Aufs)
					a.see(t, "child")
					a.leftVolatile(t, true)
				}
			},
		} {
			for how, options := range map[string]driver.GetOptions{"then ordinary": {}, "then volatile": {Volatile: true}} {
				t.Run(what+" "+how, func(t *testing.T) {
					s := newStore(t, backend.Overlay)
					threeLayers(t, s)
					dir := s.getVolatile(t, "child")
					edit(t, dir)
					shown := readTree(t, dir)
					lose(t, s)
					again := openStore(t, string(s.inner.Home), backend.Overlay)
					dir, err := again.Get("child", options)
					must(t, err)
					sameTree(t, readTree(t, dir), shown)
					if what == "a reboot" && isVolatile(t, dir) != options.Volatile {
						t.Errorf("the mount is volatile: %v", !options.Volatile)
					}
					must(t, again.Put("child"))
					if what == "the mount stays" {
						// There was one Get more than Puts.
						must(t, again.Put("child"))
					}
					again.leftVolatile(t, false)
					if changes, err := again.Changes("child", nil, "middle", nil); err != nil || len(changes) == 0 {
						t.Errorf("changes: %v, %v", changes, err)
					}
					must(t, diff(t, again))
					noLeftovers(t, again)
				})
			}
		}
	})
}

// TestVolatileHeld has a volatile mount live on in another mount namespace. After a Put, the layer can be mounted again, as any other
// layer can. If the mount was never put, nobody knows whether somebody still writes to it.
func TestVolatileHeld(t *testing.T) {
	onVolatile(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "child")
		write(t, s.getVolatile(t, "child"), files{"f": "f"})
		end := leak(t)
		unmountLazily(t, string(s.inner.Home))
		s = openStore(t, string(s.inner.Home), backend.Overlay)
		for _, options := range []driver.GetOptions{{}, {Volatile: true}} {
			// The Put of a read-only mount does not end the volatile one.
			sameNames(t, s.see(t, "child", "ro").Names(), "f")
			_, err := s.Get("child", options)
			wants(t, err, unix.EBUSY, "child", "volatile")
			if busy := (*mountutil.BusyError)(nil); !errors.As(err, &busy) || len(busy.Holders) == 0 {
				t.Errorf("the error has no holders: %v", err)
			}
			if mountedAt(t, s.inner.Home.Mnt("child")) {
				t.Error("it is mounted after the error")
			}
		}
		s.leftVolatile(t, true)
		end()
		write(t, getsFreed(t, s, "child", driver.GetOptions{Volatile: true}), files{"g": "g"})
		leak(t)
		t.Cleanup(wire.ExpectMessages("undefined behavior"))
		must(t, s.Put("child"))
		sameNames(t, s.see(t, "child").Names(), "f", "g")
	})
}

// TestVolatileUnknown mounts where the kernel has no volatile mounts.
func TestVolatileUnknown(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		log := hearLog(t)
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "child")
		b, ok := s.inner.Backend.(*backend.OverlayBackend)
		if !ok {
			t.Fatal("not the overlay backend")
		}
		b.Volatile = false
		if dir := s.getVolatile(t, "child"); isVolatile(t, dir) {
			t.Error("the mount is volatile")
		}
		must(t, s.Put("child"))
		log.none(t, "Get")
		_, err := s.Get("child", driver.GetOptions{Options: []string{"volatile"}})
		wants(t, err, unix.EINVAL, "layer child", `"volatile"`, "5.10")
		// Nothing is written to a read-only mount.
		s.see(t, "child", "volatile,ro")
		if !slices.Contains(s.Status(), [2]string{"Supports volatile", "false"}) {
			t.Errorf("status: %v", s.Status())
		}
	})
}

// TestVolatileDenied mounts volatile while one of the new calls for mounts is forbidden. Mount then calls mount(2), which meets what the first
// attempt has left in the work directory.
func TestVolatileDenied(t *testing.T) {
	if call := os.Getenv(childVariable); call != "" {
		must(t, faults.Deny(faults.NewCalls[call], unix.EPERM))
		dir := t.TempDir()
		// Because of the comma, the data of mount(2) cannot name this directory.
		write(t, dir, files{"mnt/": "", "low,er/f": "", "upper/": "", "work/": ""})
		in := func(name string) string { return filepath.Join(dir, name) }
		m := overlayfs.Mount{Target: in("mnt"), Lowers: []string{in("low,er")}, Upper: in("upper"), Work: in("work"), Volatile: true}
		must(t, m.Mount())
		sameNames(t, readTree(t, m.Target).Names(), "f")
		if !isVolatile(t, m.Target) {
			t.Error("the mount is not volatile")
		}
		must(t, mountutil.UnmountRetry(m.Target))
		return
	}
	if os.Getuid() != 0 {
		t.Skip("a filter takes root")
	}
	onVolatile(t, func(t *testing.T) {
		for _, call := range []string{"fsopen", "fsconfig", "fsmount", "move_mount"} {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestVolatileDenied$", "-test.v")
			cmd.Env = append(os.Environ(), childVariable+"="+call)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("without %s: %v\n%s", call, err, out)
			}
		}
	})
}

// TestVolatileProbe has the driver find out whether the kernel can mount volatile.
func TestVolatileProbe(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		want := [2]string{"Supports volatile", strconv.FormatBool(hasVolatile(t, name))}
		if !slices.Contains(s.Status(), want) {
			t.Errorf("status: %v, without %v", s.Status(), want)
		}
	})
}

// TestDriverWritesDurably has the driver itself write to a layer through a mount, while the option volatile is for all mounts.
func TestDriverWritesDurably(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		needVolatile(t, name)
		s := newStore(t, name, withMountOptions("volatile"))
		s.create(t, "", "base", "child")
		write(t, s.inner.Home.Diff("child"), files{"f": "f"})
		apply := s.inner.Library.ApplyLayer
		applied := false
		s.inner.Library.ApplyLayer = func(dir string, archive io.Reader, o layertar.UnpackOptions) (int64, error) {
			applied = true
			if isVolatile(t, dir) {
				t.Error("ApplyDiff has a volatile mount")
			}
			return apply(dir, archive, o)
		}
		s.apply(t, "child", "base", entry{Name: "g", Content: "g"})
		if !applied {
			t.Error("ApplyDiff has used no mount")
		}
		dir, err := s.inner.GetDurable("child", "")
		must(t, err)
		if isVolatile(t, dir) {
			t.Error("the mount of UpdateLayerIDMap is volatile")
		}
		must(t, s.Put("child"))
		sameNames(t, s.see(t, "child").Names(), "f", "g")
	})
}

// TestVolatilePowerCut makes the power go off while a volatile mount is written to, and after its Put. The mounted layer must be usable, and
// all others must be as before.
func TestVolatilePowerCut(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		d := newDisk(t)
		home := filepath.Join(d.dir, "home")
		before := layerTrees{}
		s, err := reopen(home, name)
		must(t, err)
		threeLayers(t, s)
		for _, id := range []string{"base", "middle", "other"} {
			before[id] = s.see(t, id, "ro")
		}
		must(t, s.Cleanup())
		d.sync(t)
		rec := newRecording(t, d)
		s, err = reopen(home, name)
		must(t, err)
		dir := s.getVolatile(t, "child")
		rec.cut(t)
		edit(t, dir)
		rec.cut(t)
		f, err := os.OpenFile(filepath.Join(dir, "mine"), os.O_WRONLY, 0)
		must(t, err)
		must(t, errors.Join(f.Sync(), f.Close()))
		rec.cut(t)
		must(t, s.Put("child"))
		rec.cut(t)
		must(t, s.Cleanup())
		unmountLazily(t, home)
		for i, cut := range rec.disks(t) {
			cut.mount(t)
			after := openStore(t, filepath.Join(cut.dir, "home"), name)
			ids, err := after.ListLayers()
			must(t, err)
			slices.Sort(ids)
			if !slices.Equal(ids, []string{"base", "child", "middle", "other"}) {
				t.Errorf("cut %d: the layers %v", i, ids)
			}
			for id, want := range before {
				sameTree(t, after.see(t, id, "ro"), want)
			}
			shown := after.see(t, "child")
			after.oneForm(t, "child")
			write(t, after.getVolatile(t, "child"), files{"later": "later"})
			must(t, after.Put("child"))
			sameNames(t, after.see(t, "child").Names(), append(shown.Names(), "later")...)
			_, err = after.Diff("child", nil, "middle", nil)
			must(t, err)
			must(t, after.Remove("child"))
			noLeftovers(t, after)
			must(t, after.Cleanup())
			unmountLazily(t, string(after.inner.Home))
			cut.unmount(t)
		}
	})
}
