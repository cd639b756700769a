//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// inodeOf is the inode number of a path, or 0 if there is none.
func inodeOf(path string) uint64 {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return statOf(info).Ino
}

// withMarks makes a store with layers base, marks, which has whiteouts and is not writable, and top.
func withMarks(t *testing.T) store {
	t.Helper()
	s := newStore(t, backendOverlay)
	s.create(t, "", "base")
	write(t, s.inner.home.diff("base"), files{"gone": "", "kept": "", "opaque/hidden": "", "dir/gone": ""})
	s.create(t, "base", "marks")
	s.apply(t, "marks", "base",
		entry{name: ".wh.gone"}, entry{name: "dir/.wh.gone"}, entry{name: "opaque/"}, entry{name: "opaque/.wh..wh..opq"}, entry{name: "opaque/new"})
	s.create(t, "marks", "top")
	return s
}

var marksShow = []string{"kept", "opaque", "opaque/new", "dir"}

func TestTwinIsKept(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := withMarks(t)
		h := s.inner.home
		before := readTree(t, h.diff("marks")).names()
		sameNames(t, s.see(t, "top").names(), marksShow...)
		root := h.twins().path("marks", derivedRoot)
		made := inodeOf(root)
		if made == 0 {
			t.Fatal("there is no twin")
		}
		if inodeOf(h.twins().path("base", derivedRoot)) != 0 {
			t.Error("a layer without whiteouts has a twin")
		}
		if inodeOf(h.twins().path("base", derivedStamp)) == 0 {
			t.Error("nobody remembers that base needs none")
		}
		other := openStore(t, string(h), backendOverlay)
		sameNames(t, other.see(t, "top").names(), marksShow...)
		if inodeOf(root) != made {
			t.Error("the twin was made again")
		}
		// It may be deleted at any time.
		must(t, os.RemoveAll(h.overlay(twinDir)))
		sameNames(t, s.see(t, "top").names(), marksShow...)
		if inodeOf(root) == 0 {
			t.Error("the twin was not made again")
		}
		sameNames(t, readTree(t, h.diff("marks")).names(), before...)
		must(t, s.Remove("top"))
		must(t, s.Remove("marks"))
		if inodeOf(h.overlay(twinDir, "marks")) != 0 {
			t.Error("the twin outlives its layer")
		}
	})
}

// TestTwinFollowsItsLayer is about layers that change after a twin of them was made.
func TestTwinFollowsItsLayer(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := withMarks(t)
		sameNames(t, s.see(t, "top").names(), marksShow...)
		s.apply(t, "marks", "base", entry{name: "dir/more"}, entry{name: ".wh.kept"})
		sameNames(t, s.see(t, "top").names(), "opaque", "opaque/new", "dir", "dir/more")
		s.change(t, "marks", func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "dir/more")))
			must(t, os.Remove(filepath.Join(dir, "opaque/new")))
		})
		sameNames(t, s.see(t, "top").names(), "opaque", "dir")
		// And in a layer that had none before.
		s.change(t, "base", func(string) {})
		s.create(t, "marks", "late")
		s.create(t, "late", "later")
		sameNames(t, s.see(t, "later").names(), "opaque", "dir")
		s.apply(t, "late", "marks", entry{name: "dir/.wh.x"}, entry{name: ".wh.opaque"})
		sameNames(t, s.see(t, "later").names(), "dir")
		// What was replaced goes after a while, with an Init while nothing is mounted.
		old, err := filepath.Glob(s.inner.home.overlay(oldDir, "*"))
		if err != nil || len(old) < 2 {
			t.Fatalf("there should be replaced twins: %v, %v", old, err)
		}
		must(t, os.Chtimes(old[0], time.Time{}, time.Now().Add(-2*oldAge)))
		openStore(t, string(s.inner.home), backendOverlay)
		left, err := filepath.Glob(s.inner.home.overlay(oldDir, "*"))
		if err != nil || len(left) != len(old)-1 || inodeOf(old[0]) != 0 {
			t.Errorf("of %v there are left %v, %v", old, left, err)
		}
	})
}

// TestMountedLayerAsParent is about a stack on top of a layer that is mounted itself.
func TestMountedLayerAsParent(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.home.diff("base"), files{"a": "", "b": "", "d/x": "", "d/y": ""})
		s.create(t, "base", "middle")
		dir := s.get(t, "middle")
		must(t, os.Remove(filepath.Join(dir, "a")))
		must(t, os.RemoveAll(filepath.Join(dir, "d")))
		write(t, dir, files{"d/z": ""})
		s.create(t, "middle", "top")
		want := []string{"b", "d", "d/z"}
		sameNames(t, readTree(t, s.get(t, "top")).names(), want...)
		sameNames(t, s.changes(t, "top", "middle"))
		must(t, s.Put("middle"))
		sameNames(t, readTree(t, s.inner.home.mnt("top")).names(), want...)
		must(t, s.Put("top"))
		sameNames(t, s.see(t, "top").names(), want...)
		s.atRest(t, "middle")
		s.atRest(t, "top")
	})
}

// TestDeepStack mounts as many layers as are asked of a driver, with a whiteout in each.
func TestDeepStack(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		const depth = 128
		s := newStore(t, name)
		parent := ""
		for i := range depth {
			id := fmt.Sprintf("layer%03d", i)
			s.create(t, parent, id)
			f := files{fmt.Sprintf("f%03d", i): "x"}
			if i > 0 {
				f[fmt.Sprintf(".wh.f%03d", i-1)] = ""
			}
			write(t, s.inner.home.diff(id), f)
			parent = id
		}
		s.create(t, parent, "top")
		sameNames(t, s.see(t, "top").names(), fmt.Sprintf("f%03d", depth-1))
		sameNames(t, s.see(t, "top", "ro").names(), fmt.Sprintf("f%03d", depth-1))
	})
}

// leak copies all mounts into another mount namespace, which lives until the function that is returned is called.
func leak(t *testing.T) (end func()) {
	t.Helper()
	c := exec.Command("unshare", "-m", "sleep", "1000")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, c.Start())
	ours, err := os.Readlink("/proc/self/ns/mnt")
	must(t, err)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", c.Process.Pid))
		name, cerr := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.Process.Pid))
		if err == nil && cerr == nil && theirs != ours && strings.TrimSpace(string(name)) == "sleep" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no mount namespace: %v, %v", err, cerr)
		}
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
	t.Cleanup(end)
	return end
}

// TestLeakedMount is about a mount that lives on in another mount namespace: its layer is not translated while it does.
// The kernel is asked in both of the ways that there are.
func TestLeakedMount(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		for _, how := range []answer{answerTrial, answerMountinfo} {
			t.Run([]string{"no overlayfs", "by a trial mount", "by mountinfo"}[how], func(t *testing.T) {
				s := newStore(t, backendOverlay)
				if how == answerMountinfo {
					s.inner.forms.how, s.inner.forms.asked = answerMountinfo, true
				}
				s.create(t, "", "base")
				write(t, s.inner.home.diff("base"), files{"a": "", "b": ""})
				s.create(t, "base", "child")
				dir := s.get(t, "child")
				must(t, os.Remove(filepath.Join(dir, "a")))
				end := leak(t)
				// A mount of a layer that is mounted elsewhere makes overlayfs warn.
				t.Cleanup(wire.ExpectMessages("undefined behavior"))

				must(t, s.Put("child"))
				if mountedAt(t, dir) {
					t.Fatal("it is still mounted here")
				}
				if s.inner.forms.how != how {
					t.Errorf("the kernel was asked in the way %d, not %d", s.inner.forms.how, how)
				}
				marked := func(want bool) {
					t.Helper()
					f, err := s.inner.forms.form("child")
					if err != nil || (f != aufsForm) != want {
						t.Fatalf("the layer is in form %q, %v", f, err)
					}
					info, err := os.Lstat(filepath.Join(s.inner.home.diff("child"), "a"))
					if want && (err != nil || !isOverlayWhiteout(info)) || !want && !errors.Is(err, fs.ErrNotExist) {
						t.Fatalf("the whiteout is %v, %v", info, err)
					}
				}
				marked(true)
				// It reads as it should, may be a parent, be mounted again, and survives an Init.
				sameNames(t, keysOf(s.diff(t, "child", "base")), ".wh.a")
				sameNames(t, s.changes(t, "child", "base"), "D /a")
				s.create(t, "child", "grandchild")
				sameNames(t, s.see(t, "grandchild").names(), "b")
				s.change(t, "child", func(dir string) {
					sameNames(t, readTree(t, dir).names(), "b")
					write(t, dir, files{"c": ""})
				})
				marked(true)
				sameNames(t, s.see(t, "child", "ro").names(), "b", "c")
				openStore(t, string(s.inner.home), backendOverlay)
				marked(true)
				// Until the last copy is gone.
				end()
				openStore(t, string(s.inner.home), backendOverlay)
				marked(false)
				s.atRest(t, "child")
				sameNames(t, s.see(t, "child").names(), "b", "c")
			})
		}
	})
}

// TestLayerLeftByACrash is about a layer whose process, or host, went down while it was mounted by overlayfs.
func TestLayerLeftByACrash(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		for _, next := range []string{"Init", "Get", "Diff", "ApplyDiff", "child"} {
			t.Run(next, func(t *testing.T) {
				s := newStore(t, backendOverlay)
				s.create(t, "", "base")
				write(t, s.inner.home.diff("base"), files{"a": "", "b": ""})
				s.create(t, "base", "child")
				dir := s.get(t, "child")
				must(t, os.Remove(filepath.Join(dir, "a")))
				must(t, unix.Unmount(dir, 0))
				if f, err := s.inner.forms.form("child"); err != nil || f != overlayTrusted {
					t.Fatalf("the layer is in form %q, %v", f, err)
				}
				want := []string{"b"}
				switch next {
				case "Init":
					s = openStore(t, string(s.inner.home), backendOverlay)
				case "Get":
					sameNames(t, readTree(t, s.get(t, "child")).names(), want...)
					must(t, s.Put("child"))
				case "Diff":
					sameNames(t, keysOf(s.diff(t, "child", "base")), ".wh.a")
				case "ApplyDiff":
					s.apply(t, "child", "base", entry{name: "c"})
					want = append(want, "c")
				case "child":
					s.create(t, "child", "grandchild")
					sameNames(t, s.see(t, "grandchild").names(), want...)
					s.change(t, "child", func(string) {})
				}
				s.atRest(t, "child")
				sameNames(t, s.see(t, "child").names(), want...)
				if inodeOf(s.inner.home.overlay(runDir, "child")) != 0 {
					t.Error("what existed for the mount alone is still there")
				}
			})
		}
	})
}

// TestUnreadableMark is about a mark that says nothing that could be trusted: nothing is done to the layer.
func TestUnreadableMark(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		must(t, linkIn("junk", s.inner.home.overlay(markDir), "child"))
		_, err := s.Get("child", graphdriver.MountOpts{})
		wants(t, err, nil, "child", "junk")
		_, err = s.Diff("child", nil, "base", nil, "")
		wants(t, err, nil, "child", "junk")
		must(t, os.Remove(s.inner.home.overlay(markDir, "child")))
		s.see(t, "child")
		s.atRest(t, "child")
	})
}

// TestBackendsTakeTurns is about one store that is mounted by aufs and by overlayfs, after each other.
func TestBackendsTakeTurns(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := changed(t, backendAufs)
		want := s.see(t, "child")
		for _, name := range []backendName{backendOverlay, backendAufs, backendOverlay, backendAufs} {
			must(t, s.Cleanup())
			s = openStore(t, string(s.inner.home), name)
			got := s.see(t, "child")
			sameTree(t, got, want)
			s.change(t, "child", func(dir string) {
				write(t, dir, files{"by/" + string(name): "x"})
				must(t, os.RemoveAll(filepath.Join(dir, "replaced")))
				write(t, dir, files{"replaced/" + string(name): "x"})
				must(t, os.RemoveAll(filepath.Join(dir, "kept")))
			})
			s.atRest(t, "child")
			want = s.see(t, "child")
			sameNames(t, s.see(t, "child", "ro").names(), want.names()...)
		}
	})
}

// TestAufsTakesWhatOverlayLeft is about a host that went down with layers mounted by overlayfs, and has aufs now.
func TestAufsTakesWhatOverlayLeft(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := changed(t, backendOverlay)
		a := openStore(t, string(s.inner.home), backendAufs)
		s.create(t, "child", "grandchild")
		for _, id := range []string{"child", "grandchild"} {
			want := s.see(t, id)
			dir := s.get(t, "child")
			// In use still: aufs may not have it, nor anything on top of it.
			_, err := a.Get("grandchild", graphdriver.MountOpts{})
			wants(t, err, errInUse, "child")
			must(t, unix.Unmount(dir, 0))
			sameTree(t, a.see(t, id), want)
			a.atRest(t, "child")
		}
	})
}

// TestOverlayInAUserNamespace does what a user without root does, where the kernel lets him.
func TestOverlayInAUserNamespace(t *testing.T) {
	home := os.Getenv(childVariable)
	if home == "" {
		onOverlay(t, func(t *testing.T) {
			if !hasUserXattrs(t) {
				t.Skip("overlayfs keeps its marks in attributes of users there, and the tests' file system has none")
			}
			out, err := inNamespaces(t, filepath.Join(t.TempDir(), "home"), "-U", "-r", "-m")
			if err != nil || !strings.Contains(out, "--- PASS: "+t.Name()) {
				t.Errorf("%v\n%s", err, out)
			}
			t.Log(out)
		})
		return
	}
	t.Run("overlay", func(t *testing.T) {
		d, err := Init(home, optionsFor(backendOverlay))
		if err != nil {
			wants(t, err, graphdriver.ErrPrerequisites, "user namespace")
			t.Logf("this kernel does not allow it: %v", err)
			return
		}
		must(t, d.Cleanup())
		s := changed(t, backendOverlay)
		if f := s.inner.backend.(*overlayBackend).form; f != overlayUser { //nolint:forcetypeassert
			t.Errorf("the form is %s", f)
		}
		s.atRest(t, "child")
		sameNames(t, s.changes(t, "child", "base"),
			"A /added", "C /becomesdir", "A /becomesdir/f", "C /becomesfile", "D /deleted", "C /dir", "D /dir/deleted", "D /gone",
			"C /modified", "A /newdir", "A /newdir/f", "C /replaced", "A /replaced/new", "D /replaced/old", "D /replaced/sub")
		atRest := keysOf(s.diff(t, "child", "base"))
		want := s.see(t, "child").names()
		s.create(t, "child", "grandchild")
		sameNames(t, s.see(t, "grandchild").names(), want...)
		s.get(t, "child")
		sameNames(t, keysOf(s.diff(t, "child", "base")), atRest...)
		must(t, s.Put("child"))
		s.apply(t, "grandchild", "child", entry{name: ".wh.added"}, entry{name: "more", content: "m"})
		must(t, s.Remove("grandchild"))
		t.Log("overlayfs works in a user namespace")
	})
}

// TestOverlayRecord is about a stack whose lower directories are known from the mount before.
func TestOverlayRecord(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backendOverlay)
		s.create(t, "", "base")
		write(t, s.inner.home.diff("base"), files{"a": "", "b": "", "c": ""})
		s.create(t, "base", "deleting", "plain", "top")
		write(t, s.inner.home.diff("deleting"), files{".wh.a": ""})
		h := s.inner.home
		record := h.twins().path("plain", stackRecord)
		sees := func(letters string, names ...string) {
			t.Helper()
			for _, options := range [][]string{nil, {"ro"}, nil} {
				sameNames(t, s.see(t, "top", options...).names(), names...)
			}
			content, err := os.ReadFile(record)
			if letters == "" {
				wants(t, err, fs.ErrNotExist)
			} else if !strings.HasSuffix(string(content), "\n"+letters+"\n") {
				t.Errorf("the record is %q, %v", content, err)
			}
		}
		sees("ptp", "b", "c")
		// The twin goes, and comes in another form.
		generation, err := h.use([]string{"deleting"})
		must(t, err)
		_, err = h.twinFind("deleting", overlayUser, generation)
		must(t, err)
		sees("ptp", "b", "c")
		must(t, os.RemoveAll(h.twins().path("deleting")))
		sees("ptp", "b", "c")
		// Layers change.
		s.change(t, "deleting", func(dir string) { must(t, os.Remove(filepath.Join(dir, "b"))) })
		sees("ptp", "c")
		s.change(t, "plain", func(dir string) { write(t, dir, files{"d": ""}) })
		sees("ptp", "c", "d")
		// One is being changed.
		must(t, os.Remove(record))
		dir := s.get(t, "deleting")
		must(t, os.Remove(filepath.Join(dir, "c")))
		sees("", "d")
		must(t, s.Put("deleting"))
		sees("ptp", "d")
		must(t, os.WriteFile(record, []byte("junk\n"), 0o600))
		sees("ptp", "d")
	})
}
