//go:build linux

package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// A mountHold keeps a layer's mount alive in some way.
type mountHold struct {
	name string
	// begin keeps the mount of the layer id alive, and returns what ends that. If the mount is neither elsewhere nor detached, the caller
	// then puts the layer.
	begin func(t *testing.T, s testStore, id string) (end func())
	// elsewhere says that the mount lives on in another mount namespace, and detached that it lives on in none.
	elsewhere, detached bool
}

var mountHolds = []mountHold{
	{name: "mounted here", begin: func(*testing.T, testStore, string) func() { return func() {} }},
	{name: "covered", begin: func(t *testing.T, s testStore, id string) func() {
		t.Helper()
		must(t, unix.Mount("none", s.inner.Home.Mnt(id), "tmpfs", 0, ""))
		return func() { must(t, unix.Unmount(s.inner.Home.Mnt(id), 0)) }
	}},
	{name: "in another mount namespace", elsewhere: true, begin: func(t *testing.T, s testStore, id string) func() {
		t.Helper()
		end := leak(t)
		must(t, s.Put(id))
		return end
	}},
	{name: "detached, with a file open", detached: true, begin: func(t *testing.T, s testStore, id string) func() {
		t.Helper()
		return detach(t, s, id, "kept", unix.O_RDONLY)
	}},
	{name: "detached, with its root open", detached: true, begin: func(t *testing.T, s testStore, id string) func() {
		t.Helper()
		return detach(t, s, id, ".", unix.O_PATH)
	}},
}

// detach opens a file in the mount of the layer id, and detaches the mount from the namespace.
func detach(t *testing.T, s testStore, id, file string, flags int) (end func()) {
	t.Helper()
	fd, err := unix.Open(filepath.Join(s.inner.Home.Mnt(id), file), flags|unix.O_CLOEXEC, 0)
	must(t, err)
	must(t, unix.Unmount(s.inner.Home.Mnt(id), unix.MNT_DETACH))
	must(t, s.Put(id))
	return func() { must(t, unix.Close(fd)) }
}

// A direction is one of the two directions in which a layer can be converted.
type direction struct {
	name string
	from whiteout.Form
	// convert converts the layer id to the other form.
	convert func(s testStore, id string) error
}

var directions = []direction{
	{"to aufs form", whiteout.OverlayTrusted, func(s testStore, id string) error { return s.inner.Forms.LayerToAufs(id) }},
	{"to overlay form", whiteout.AufsForm, func(s testStore, id string) error {
		lock, err := s.inner.Home.LockLayer("converting", id)
		if err != nil {
			return err
		}
		defer lock.Unlock()
		return s.inner.Forms.ToOverlay(id, whiteout.OverlayTrusted, func() bool { return false })
	}},
}

// busyStore makes a store that has a layer with marks of the form in which a direction begins, and the layer top on top of it.
func busyStore(t *testing.T, name backend.Name, d direction) testStore {
	t.Helper()
	s := newStore(t, name)
	s.create(t, "", "base", "layer", "top")
	s.create(t, "base", "sibling")
	s.apply(t, "base", "", entry{Name: "gone", Content: "g"}, entry{Name: "kept", Content: "k"}, entry{Name: "d/x", Content: "x"}, entry{Name: "e/x"})
	s.apply(t, "layer", "base", entry{Name: ".wh.gone"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/new", Content: "n"},
		entry{Name: "e/"}, entry{Name: "e/.wh.x"})
	if d.from != whiteout.AufsForm {
		must(t, directions[1].convert(s, "layer"))
	}
	s.hasForm(t, "layer", d.from)
	return s
}

// idleSoon waits until no mount of the layers is alive: when a namespace ends, the kernel takes down its mounts in its own time.
func idleSoon(t *testing.T, s testStore, ids ...string) {
	t.Helper()
	for _, id := range ids {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			used, err := s.inner.Forms.Users.Of(id)
			must(t, err)
			if !used {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is in use still", id)
			}
		}
	}
}

// TestConversionIsRefused converts a layer while it, or a layer on top of it, is mounted in each possible way. The layer must stay as it
// is, and the error must say who uses it. The test asks the kernel in both possible ways.
func TestConversionIsRefused(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		// Overlayfs warns about an upper directory that is in use elsewhere.
		t.Cleanup(wire.ExpectMessages("undefined behavior"))
		for _, d := range directions {
			for _, how := range []inuse.Answer{inuse.AnswerTrial, inuse.AnswerMountinfo} {
				t.Run(d.name+[]string{"", " by a trial mount", " by mountinfo"}[how], func(t *testing.T) {
					s := busyStore(t, name, d)
					u := s.inner.Forms.Users
					if how == inuse.AnswerMountinfo {
						u.How, u.Asked = inuse.AnswerMountinfo, true
					}
					mounts := map[string][]string{"top": {"top"}, "top read-only": {"top", "ro"}, "the layer read-only": {"layer", "ro"}}
					if s.written() == d.from {
						mounts["the layer"] = []string{"layer"}
					}
					for what, mount := range mounts {
						for _, hold := range mountHolds {
							t.Run(what+" "+hold.name, func(t *testing.T) { refused(t, s, d, how, hold, mount[0], mount[1:]) })
						}
					}
					if how == inuse.AnswerTrial && u.Asked && u.How != inuse.AnswerTrial {
						t.Errorf("the kernel was asked in the way %d", u.How)
					}
					if recordOf(t, s.inner.Home, "layer") != map[whiteout.Form]string{whiteout.OverlayTrusted: "trusted"}[d.from] {
						// Asked in this way, the kernel did not tell of the mount: see refused.
						return
					}
					must(t, d.convert(s, "layer"))
					if f, err := s.inner.Home.Form("layer"); err != nil || f == d.from {
						t.Errorf("the layer is in form %q, %v", f, err)
					}
					s.oneForm(t, "layer")
					for _, options := range [][]string{{"ro"}, nil} {
						sameNames(t, s.see(t, "top", options...).Names(), "kept", "d", "d/new", "e")
						sameNames(t, s.see(t, "layer", options...).Names(), "kept", "d", "d/new", "e")
					}
				})
			}
		}
	})
}

// refused mounts the layer id, has hold keep the mount alive, and fails the test unless the conversion of the layer "layer" is refused.
func refused(t *testing.T, s testStore, d direction, how inuse.Answer, hold mountHold, id string, options []string) {
	t.Helper()
	h := s.inner.Home
	s.get(t, id, options...)
	end := hold.begin(t, s, id)
	before := allOf(t, h.Diff("layer"))
	record := recordOf(t, h, "layer")
	err := d.convert(s, "layer")
	if how == inuse.AnswerMountinfo && hold.detached && s.backend == backend.Overlay {
		// Such a mount is in no mountinfo. On a kernel that cannot be asked in another way, nothing promises that the driver sees it.
		if err != nil {
			t.Errorf("mountinfo shows a mount that is in no namespace: %v", err)
		}
		end()
		if d.from == whiteout.AufsForm {
			must(t, directions[0].convert(s, "layer"))
		} else {
			must(t, directions[1].convert(s, "layer"))
		}
		return
	}
	var busy *mountutil.BusyError
	if !errors.As(err, &busy) || !errors.Is(err, unix.EBUSY) {
		t.Fatalf("the error is %v", err)
	}
	wants(t, err, nil, "layer")
	if busy.Target != h.Mnt(id) {
		t.Errorf("it says that %s is in use, and not %s", busy.Target, h.Mnt(id))
	}
	// Other test programs may have copies of the mount for a moment.
	if hold.elsewhere && !slices.ContainsFunc(busy.Holders, func(holder mountutil.Holder) bool {
		return holder.Command == "sleep" && holder.PID != 0 && holder.Path == h.Mnt(id)
	}) {
		t.Errorf("the holders are %+v", busy.Holders)
	}
	if !hold.elsewhere && !hold.detached && (len(busy.Holders) == 0 || busy.Holders[0].Path != h.Mnt(id)) {
		t.Errorf("the holders are %+v", busy.Holders)
	}
	changedOnly(t, allOf(t, h.Diff("layer")), before)
	if got := recordOf(t, h, "layer"); got != record {
		t.Errorf("the record is %q now, and was %q", got, record)
	}
	end()
	if !hold.elsewhere && !hold.detached {
		must(t, s.Put(id))
	}
	idleSoon(t, s, "layer", "top")
	// If nobody has put this mount, its note is left, and aufs can give its name to another mount.
	must(t, s.inner.Remover.SweepNotes())
}

// TestRunRootIsRecorded uses a store with one run root, and then with another one.
func TestRunRootIsRecorded(t *testing.T) {
	h := storeOf(t)
	for _, dir := range []string{h.Tmp(), h.Overlay()} {
		must(t, os.Mkdir(dir, 0o700))
	}
	if n := inuse.NewNotes(h, ""); len(n) != 1 {
		t.Errorf("the notes are in %q", n)
	}
	for _, root := range []string{"/run/one", "/run/one", "/run/two"} {
		must(t, inuse.RecordRunRoot(h, root))
		if n := inuse.NewNotes(h, ""); len(n) != 2 || n[0] != filepath.Join(root, filepath.Base(string(h))) {
			t.Errorf("the notes are in %q", n)
		}
	}
	if n := inuse.NewNotes(h, "/run/three"); len(n) != 2 || n[0] != filepath.Join("/run/three", filepath.Base(string(h))) {
		t.Errorf("the notes are in %q", n)
	}
}

// TestLeakedMount has a mount live on in another mount namespace. The driver must be able to read its layer, to use it as a parent, to
// mount it again, and to keep it over an Init.
func TestLeakedMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		t.Cleanup(wire.ExpectMessages("undefined behavior"))
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"a": "", "b": ""})
		s.create(t, "base", "child", "grandchild")
		dir := s.get(t, "child")
		must(t, os.Remove(filepath.Join(dir, "a")))
		s.get(t, "grandchild", "ro")
		end := leak(t)
		must(t, s.Put("grandchild"))
		must(t, s.Put("child"))
		if mountedAt(t, dir) {
			t.Fatal("it is still mounted here")
		}
		for range 2 {
			sameNames(t, keysOf(s.diff(t, "child", "base")), ".wh.a")
			sameNames(t, s.changes(t, "child", "base"), "D /a")
			sameNames(t, s.see(t, "grandchild").Names(), "b")
			sameNames(t, s.see(t, "grandchild", "ro").Names(), "b")
			sameNames(t, s.see(t, "child").Names(), "b")
			sameNames(t, s.see(t, "child", "ro").Names(), "b")
			s.hasForm(t, "child", s.written())
			s = openStore(t, string(s.inner.Home), name)
		}
		s.change(t, "child", func(dir string) { write(t, dir, files{"c": ""}) })
		sameNames(t, s.see(t, "child", "ro").Names(), "b", "c")
		end()
		idleSoon(t, s, "child", "grandchild")
		sameNames(t, s.see(t, "grandchild").Names(), "b", "c")
	})
}

// TestBackendsTakeTurns mounts one store by aufs and by overlayfs in turn.
func TestBackendsTakeTurns(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := changed(t, backend.Aufs)
		want := s.see(t, "child")
		for _, name := range []backend.Name{backend.Overlay, backend.Aufs, backend.Overlay, backend.Aufs} {
			must(t, s.Cleanup())
			s = openStore(t, string(s.inner.Home), name)
			sameTree(t, s.see(t, "child", "ro"), want)
			sameTree(t, s.see(t, "child"), want)
			s.change(t, "child", func(dir string) {
				write(t, dir, files{"by/" + string(name): "x"})
				must(t, os.RemoveAll(filepath.Join(dir, "replaced")))
				write(t, dir, files{"replaced/" + string(name): "x"})
				must(t, os.RemoveAll(filepath.Join(dir, "kept")))
			})
			s.hasForm(t, "child", s.written())
			want = s.see(t, "child")
			sameNames(t, s.see(t, "child", "ro").Names(), want.Names()...)
		}
	})
}

// TestAufsTakesWhatOverlayLeft opens a store by aufs while an earlier overlay mount of a layer lives on. Aufs may use the layer below
// others, and writes to it only when that mount is gone.
func TestAufsTakesWhatOverlayLeft(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := changed(t, backend.Overlay)
		s.create(t, "child", "grandchild")
		want := s.see(t, "child", "ro")
		s.get(t, "child")
		letGo := detach(t, s, "child", "kept", unix.O_RDONLY)
		before := allOf(t, s.inner.Home.Diff("child"))
		a := openStore(t, string(s.inner.Home), backend.Aufs)
		_, err := a.Get("child", mountOpts())
		wants(t, err, unix.EBUSY, "child")
		for _, options := range [][]string{{"ro"}, nil} {
			sameTree(t, bare(a.see(t, "grandchild", options...)), want)
		}
		changedOnly(t, allOf(t, s.inner.Home.Diff("child")), before)
		letGo()
		idleSoon(t, a, "child")
		for _, id := range []string{"child", "grandchild"} {
			sameTree(t, bare(a.see(t, id)), want)
			a.hasForm(t, id, whiteout.AufsForm)
		}
	})
}

func TestTrialAnswer(t *testing.T) {
	odd := errors.New("odd")
	for _, c := range []struct {
		err, want error
		used      bool
	}{
		{nil, nil, false},
		{&mountutil.Error{Err: unix.EBUSY}, nil, true},
		{&mountutil.Error{Err: unix.ESTALE}, nil, false},
		{odd, odd, false},
	} {
		if used, err := inuse.TrialAnswer(c.err); used != c.used || !errors.Is(err, c.want) {
			t.Errorf("%v: %t, %v", c.err, used, err)
		}
	}
}

// TestWithoutOverlayfs uses a Probe for a kernel without overlayfs. No overlay mount can be alive, and the Probe must not mount anything
// to find that out.
func TestWithoutOverlayfs(t *testing.T) {
	h := storeOf(t)
	write(t, string(h), files{"layers/base": "", "layers/layer": "base\n", "diff/base/": "", "diff/layer/": "", "mnt/layer/": "", "mnt/base/": ""})
	must(t, os.MkdirAll(h.Tmp(), 0o700))
	u := inuse.NewProbe(h, "")
	u.How, u.Asked = inuse.AnswerNoOverlay, true
	setRecord(t, h, "layer", "trusted")
	for _, id := range []string{"base", "layer"} {
		if used, err := u.Of(id); err != nil || used {
			t.Errorf("%s: %t, %v", id, used, err)
		}
		must(t, u.Idle(id))
	}
	sameNames(t, readTree(t, h.Tmp()).Names())
}

// TestIdleGoesByDescendants asks whether a layer is idle that has other layers on top of it, one of which is damaged.
func TestIdleGoesByDescendants(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		h := s.inner.Home
		s.create(t, "", "base", "layer", "child", "grandchild")
		s.create(t, "base", "sibling")
		must(t, os.WriteFile(h.Layers("damaged"), []byte("layer\nlayer\n"), 0o600))
		u := s.inner.Forms.Users
		s.get(t, "sibling")
		must(t, u.Idle("layer"))
		wants(t, u.Idle("base"), unix.EBUSY, h.Mnt("sibling"))
		must(t, s.Put("sibling"))
		s.get(t, "grandchild", "ro")
		for _, id := range []string{"base", "layer", "child", "grandchild"} {
			err := u.Idle(id)
			var busy *mountutil.BusyError
			if !errors.As(err, &busy) || busy.Target != h.Mnt("grandchild") {
				t.Errorf("%s: %v", id, err)
			}
		}
		must(t, s.Put("grandchild"))
		must(t, u.Idle("base"))
		must(t, os.Remove(h.Layers("damaged")))
	})
}

func TestEscapes(t *testing.T) {
	if got := overlayfs.EscapeOption(`/a,b\c`); got != `/a\,b\\c` {
		t.Errorf("got %s", got)
	}
	file := filepath.Join(t.TempDir(), "mountinfo")
	line := func(upper string) []byte {
		return []byte("100 22 0:45 / /mnt rw,relatime shared:1 - overlay none rw,lowerdir=/l,upperdir=" + upper + ",workdir=/w,index=off\n")
	}
	for shown, real := range map[string]string{
		"/s/diff/a": "/s/diff/a", `/a\040b\134c/d`: `/a b\c/d`, "/a=b": "/a=b", `/a\075b`: "/a=b", `/a\054b`: "/a,b",
		// mountinfo shows these if mount(2) was given the option.
		`/a\134\054b`: "/a,b", `/a\134\134b`: `/a\b`, `/a\134\134\134\054b`: `/a\,b`, "/\303\251": "/\u00e9",
	} {
		must(t, os.WriteFile(file, bytes.Join([][]byte{line("/other"), line(shown)}, nil), 0o600))
		if m, err := inuse.InMountinfo(file, "overlay", "upperdir="+inuse.EscapeMountinfo(real)); err != nil || m == nil || m.Mountpoint != "/mnt" {
			t.Errorf("%s: %v, %v", real, m, err)
		}
		if m, err := inuse.InMountinfo(file, "overlay", "upperdir="+inuse.EscapeMountinfo(real+"x")); err != nil || m != nil {
			t.Errorf("%sx: %v, %v", real, m, err)
		}
	}
}

// mountOpts returns options for Get.
func mountOpts(options ...string) driver.GetOptions {
	return driver.GetOptions{Options: options}
}

// TestUsersOfAnOddPath looks in mountinfo for the mounts of a store whose path has the characters that the kernel escapes there.
func TestUsersOfAnOddPath(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		for _, odd := range []string{"a,b", "a=b", "a b", `a\b`, "a#b", "a\tb", `a\,b`, `a\054b`} {
			s := openStore(t, filepath.Join(t.TempDir(), odd, "home"), backend.Overlay)
			s.create(t, "", "base", "child", "other")
			s.get(t, "child")
			for id, want := range map[string]bool{"child": true, "other": false} {
				if used, err := inuse.UpperInMountinfo(s.inner.Home.Diff(id)); err != nil || used != want {
					t.Errorf("%q: %s is in use: %t, %v", odd, id, used, err)
				}
			}
			if holders := inuse.HoldersOf("overlay", "upperdir="+inuse.EscapeMountinfo(s.inner.Home.Diff("child"))); len(holders) == 0 {
				t.Errorf("%q: nobody holds it", odd)
			}
			must(t, s.Put("child"))
		}
	})
}

// TestUsersOfANamespaceWithAnotherRoot looks for a mount in a mount namespace with two processes. The first one that the search meets has
// another root directory, below which nothing is mounted.
func TestUsersOfANamespaceWithAnotherRoot(t *testing.T) {
	// Overlayfs warns about an upper directory that is in use elsewhere.
	t.Cleanup(wire.ExpectMessages("undefined behavior"))
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		u := s.inner.Forms.Users
		u.How, u.Asked = inuse.AnswerMountinfo, true
		s.get(t, "child")
		end := leakWithRoot(t)
		must(t, s.Put("child"))
		if used, err := u.Of("child"); err != nil || !used {
			t.Errorf("child is in use: %t, %v", used, err)
		}
		end()
		idleSoon(t, s, "child")
	})
}

// leakWithRoot copies all mounts to another mount namespace. Of its two processes, the first in the order of their names in /proc has a root
// directory of its own.
func leakWithRoot(t *testing.T) (end func()) {
	t.Helper()
	const script = `mount --bind / "$0" && { sleep 100 & } && echo $$ $! && exec chroot "$0" sleep 100`
	for range 100 {
		c := exec.Command("unshare", "-m", "sh", "-c", script, t.TempDir())
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		out, err := c.StdoutPipe()
		must(t, err)
		must(t, c.Start())
		end = sync.OnceFunc(func() {
			_ = unix.Kill(-c.Process.Pid, unix.SIGKILL)
			_ = c.Wait()
		})
		t.Cleanup(end)
		var chrooted, other string
		_, err = fmt.Fscan(out, &chrooted, &other)
		must(t, err)
		if chrooted < other {
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				root, err := os.Readlink(filepath.Join("/proc", chrooted, "root"))
				must(t, err)
				if root != "/" {
					return end
				}
				if time.Now().After(deadline) {
					t.Fatal("the root directory stays")
				}
			}
		}
		end()
	}
	t.Fatal("the process with another root directory is never the first one")
	return nil
}

// TestUsersAreAskedForByMany has several goroutines ask at the same time.
func TestUsersAreAskedForByMany(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "layer")
		s.change(t, "layer", func(string) {})
		var wg sync.WaitGroup
		for range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				u := inuse.NewProbe(s.inner.Home, "")
				for range 50 {
					used, err := u.Of("layer")
					if used || err != nil {
						t.Errorf("used %v, %v", used, err)
						return
					}
				}
			}()
		}
		wg.Wait()
	})
}

// TestSecondMountOfALayerIsSeen mounts a layer again while a copy of its first mount is alive. The kernel then counts the directory as
// used by the first mount alone, and does not tell of the second mount when the first is gone. The driver must see it all the same.
func TestSecondMountOfALayerIsSeen(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		t.Cleanup(wire.ExpectMessages("undefined behavior"))
		for what, options := range map[string][]string{"writable": nil, "read-only": {"ro"}} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "layer")
				s.apply(t, "base", "", entry{Name: "f"})
				var ends []func()
				for range 2 {
					s.get(t, "layer", options...)
					ends = append(ends, leak(t))
					must(t, s.Put("layer"))
				}
				ends[0]()
				// The kernel takes down the first mount in its own time.
				for range 50 {
					time.Sleep(5 * time.Millisecond)
					used, err := s.inner.Forms.Users.Of("layer")
					if err != nil || !used {
						t.Fatalf("used %v, %v", used, err)
					}
				}
				ends[1]()
				idleSoon(t, s, "layer")
			})
		}
	})
}
