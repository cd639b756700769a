//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// rebooted has this process take the kernel for one that was started again, until the end of the test.
func rebooted(t *testing.T) {
	t.Helper()
	before := bootID
	next := before() + "-next"
	bootID = func() string { return next }
	t.Cleanup(func() { bootID = before })
}

// TestTrace follows what is written down of a layer's form through mounts and reboots.
func TestTrace(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backendOverlay)
		s.create(t, "", "base", "child", "other")
		h := s.inner.home
		names := func() []string {
			t.Helper()
			return slices.DeleteFunc(readTree(t, h.overlay()).names(), func(name string) bool {
				return !strings.HasPrefix(name, markDir+"/") && !strings.HasPrefix(name, traceDir+"/")
			})
		}
		s.see(t, "base", "ro")
		sameNames(t, names())
		first := bootID()
		s.get(t, "child")
		sameNames(t, names(), "mark/child", "trace/"+first, "trace/"+first+"/child")
		must(t, s.Put("child"))
		sameNames(t, names(), "trace/"+first, "trace/"+first+"/child")
		s.atRest(t, "child")
		s.see(t, "child")
		sameNames(t, names(), "trace/"+first, "trace/"+first+"/child")

		// Init does not read the layer, nor does it forget that this has to be done.
		for range 2 {
			rebooted(t)
			s = openStore(t, string(h), backendOverlay)
			sameNames(t, names(), "trace/earlier", "trace/earlier/child")
			if m, err := s.inner.forms.read("child"); err != nil || !m.old || m.form != overlayTrusted {
				t.Errorf("the mark is %+v, %v", m, err)
			}
		}
		s.see(t, "child")
		s.atRest(t, "child")
		sameNames(t, names(), "trace/"+bootID(), "trace/"+bootID()+"/child", "trace/earlier")
		s.see(t, "other")
		must(t, s.Remove("other"))
		rebooted(t)
		s = openStore(t, string(h), backendOverlay)
		sameNames(t, names(), "trace/earlier", "trace/earlier/child")
		must(t, s.Remove("child"))
		s = openStore(t, string(h), backendOverlay)
		sameNames(t, names())
	})
}

// TestTraceOfAPowerCut is about a layer that is on the disk as overlayfs had it, without its mark, after the kernel was started
// again.
func TestTraceOfAPowerCut(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		for _, use := range []string{"Get", "read-only Get", "Diff", "Changes", "child", "Check", "Repair", "Remove", "read-only store"} {
			t.Run(use, func(t *testing.T) {
				s := newStore(t, backendOverlay)
				s.create(t, "", "base")
				write(t, s.inner.home.diff("base"), files{"a": "", "b": "", "d/x": ""})
				s.create(t, "base", "child")
				h := s.inner.home
				dir := s.get(t, "child")
				must(t, os.Remove(filepath.Join(dir, "a")))
				must(t, os.RemoveAll(filepath.Join(dir, "d")))
				write(t, dir, files{"d/y": ""})
				must(t, unix.Unmount(dir, 0))
				must(t, os.Remove(h.overlay(markDir, "child")))
				rebooted(t)
				want := []string{"b", "d", "d/y"}
				if use == "Check" {
					problems, err := Check(t.Context(), string(h))
					if err != nil || len(problems) != 1 || problems[0].Kind != NotAtRest || problems[0].Layer != "child" {
						t.Errorf("the problems are %v, %v", problems, err)
					}
				}
				if use == "read-only store" {
					must(t, s.Cleanup())
					readOnly := t.TempDir()
					must(t, unix.Mount(string(h), readOnly, "", unix.MS_BIND, ""))
					defer func() { must(t, unix.Unmount(readOnly, 0)) }()
					must(t, unix.Mount("", readOnly, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
					r, err := reopen(readOnly, backendOverlay)
					must(t, err)
					sameNames(t, keysOf(r.diff(t, "child", "base")), ".wh.a", "d/", "d/.wh..wh..opq", "d/y")
					must(t, r.Cleanup())
					return
				}
				s = openStore(t, string(h), backendOverlay)
				switch use {
				case "Get":
					sameNames(t, s.see(t, "child").names(), want...)
				case "read-only Get":
					sameNames(t, s.see(t, "child", "ro").names(), want...)
				case "Diff":
					sameNames(t, keysOf(s.diff(t, "child", "base")), ".wh.a", "d/", "d/.wh..wh..opq", "d/y")
				case "Changes":
					sameNames(t, s.changes(t, "child", "base"), "D /a", "C /d", "D /d/x", "A /d/y")
				case "child":
					s.create(t, "child", "grandchild")
					sameNames(t, s.see(t, "grandchild").names(), want...)
				case "Repair":
					left, err := Repair(t.Context(), string(h))
					if err != nil || len(left) > 0 {
						t.Errorf("%v, %v", left, err)
					}
				case "Remove":
					must(t, s.Remove("child"))
					return
				}
				if use != "Changes" && use != "Check" {
					s.atRest(t, "child")
				}
				sameNames(t, s.see(t, "child").names(), want...)
				s.atRest(t, "child")
			})
		}
	})
}

// TestUnknownBoot is about a kernel that does not tell one boot from another: there is a mark alone.
func TestUnknownBoot(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		before := bootID
		bootID = func() string { return "" }
		t.Cleanup(func() { bootID = before })
		s := newStore(t, backendOverlay)
		s.create(t, "", "base", "child")
		s.get(t, "child")
		sameNames(t, readTree(t, s.inner.home.overlay(markDir)).names(), "child")
		must(t, s.Put("child"))
		sameNames(t, readTree(t, s.inner.home.overlay(markDir)).names())
		if inodeOf(s.inner.home.overlay(traceDir)) != 0 {
			t.Error("there are traces")
		}
		s.atRest(t, "child")
		// One that another kernel has left.
		must(t, linkIn(string(overlayTrusted), s.inner.home.overlay(traceDir, "other"), "child"))
		s = openStore(t, string(s.inner.home), backendOverlay)
		s.see(t, "child")
		s.atRest(t, "child")
	})
}

// TestOldTraceOfALiveMount is about a layer that only a trace of an earlier boot tells of, and that cannot be brought to rest before it
// is mounted: nobody takes it for one that nothing has mounted.
func TestOldTraceOfALiveMount(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backendOverlay)
		s.create(t, "", "base")
		long := strings.Repeat("n", 253)
		write(t, s.inner.home.diff("base"), files{"k/" + long: "", "a": "", "b": "", "c": "x"})
		s.create(t, "base", "child")
		h := s.inner.home
		dir := s.get(t, "child")
		must(t, os.Remove(filepath.Join(dir, "k", long)))
		must(t, unix.Unmount(dir, 0))
		must(t, os.Remove(h.overlay(markDir, "child")))
		rebooted(t)

		s = openStore(t, string(h), backendOverlay)
		dir = s.get(t, "child")
		must(t, os.Remove(filepath.Join(dir, "a")))
		if m, err := s.inner.forms.read("child"); err != nil || m.old {
			t.Errorf("its mark is %+v, %v", m, err)
		}
		s.create(t, "child", "grandchild")
		sameNames(t, s.see(t, "grandchild").names(), "b", "c", "k")
		// Mounted elsewhere, as a driver in another mount namespace has it.
		elsewhere := t.TempDir()
		must(t, unix.Mount(dir, elsewhere, "", unix.MS_BIND, ""))
		must(t, unix.Unmount(dir, 0))
		openStore(t, string(h), backendOverlay)
		must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("2\n"), 0))
		sameNames(t, readTree(t, elsewhere).names(), "b", "c", "k")
		write(t, elsewhere, files{"c": "copied up"})
		must(t, unix.Unmount(elsewhere, 0))
		openStore(t, string(h), backendOverlay)
		sameNames(t, s.see(t, "child").names(), "b", "c", "k")
	})
}

// TestMarkForGood is about a layer that cannot be brought to rest, whose mark tells of no mount once that is gone.
func TestMarkForGood(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backendOverlay)
		s.create(t, "", "base")
		long := strings.Repeat("n", 253)
		write(t, s.inner.home.diff("base"), files{long: "", "a": "", "b": ""})
		s.create(t, "base", "parent", "child")
		h := s.inner.home
		s.change(t, "child", func(dir string) { must(t, os.Remove(filepath.Join(dir, long))) })
		if target, err := os.Readlink(h.overlay(markDir, "child")); err != nil || target != string(overlayTrusted) {
			t.Errorf("its mark is %q, %v", target, err)
		}
		s.change(t, "parent", func(dir string) { must(t, os.Remove(filepath.Join(dir, "a"))) })
		s.atRest(t, "parent")
		if runs, err := h.runs("parent"); err != nil || len(runs) > 0 {
			t.Errorf("what existed for mounts is there: %v, %v", runs, err)
		}
		sameNames(t, s.see(t, "child").names(), "b")
	})
}

// TestTraceInAReadOnlyStore mounts layers at rest that have a trace of an earlier boot, in a store that cannot be written to.
func TestTraceInAReadOnlyStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		s.create(t, "", "base", "child", "top")
		h := s.inner.home
		for _, id := range []string{"child", "top"} {
			s.change(t, id, func(dir string) { write(t, dir, files{id: ""}) })
			// As if it had been the other backend.
			must(t, linkIn(string(overlayTrusted), h.overlay(traceDir, "earlier boot"), id))
		}
		must(t, s.Cleanup())
		home := t.TempDir()
		must(t, unix.Mount(string(h), home, "", unix.MS_BIND, ""))
		defer func() { must(t, unix.Unmount(home, 0)) }()
		must(t, unix.Mount("", home, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		r, err := reopen(home, name)
		must(t, err)
		sameNames(t, r.see(t, "child", "ro").names(), "child")
		sameNames(t, r.see(t, "top", "ro").names(), "child", "top")
		must(t, r.Cleanup())
	})
}

// TestTraceOfAnotherForm is about a layer that had both forms since the kernel was started.
func TestTraceOfAnotherForm(t *testing.T) {
	h := storeOf(t)
	m := &marks{home: h}
	for _, f := range []form{overlayTrusted, overlayUser} {
		must(t, m.set("layer", f, true, "p"))
		if got, err := m.read("layer"); err != nil || got != (mark{form: f, mounted: true, lowers: "p"}) {
			t.Errorf("%+v, %v", got, err)
		}
		must(t, m.unset("layer"))
		if got, err := m.form("layer"); err != nil || got != aufsForm {
			t.Errorf("%q, %v", got, err)
		}
	}
	rebooted(t)
	if got, err := (&marks{home: h}).read("layer"); err != nil || got != (mark{form: overlayUser, old: true}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestTraceThatIsNotSynced is about a process that was killed between a trace and its fsync.
func TestTraceThatIsNotSynced(t *testing.T) {
	h := storeOf(t)
	m := &marks{home: h}
	must(t, linkIn(string(overlayTrusted), h.overlay(traceDir, bootID()), "layer"))
	must(t, m.set("layer", overlayTrusted, false, ""))
	if target, err := os.Readlink(h.overlay(syncedDir, "layer")); err != nil || target != bootID()+" "+string(overlayTrusted) {
		t.Errorf("%q, %v", target, err)
	}
}

// TestAufsEndsTrace has overlayfs mount a layer, and then aufs, where a container makes what overlayfs would take for a whiteout.
func TestAufsEndsTrace(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := newStore(t, backendOverlay)
		s.create(t, "", "base", "child")
		s.see(t, "child")
		must(t, s.Cleanup())
		s = openStore(t, string(s.inner.home), backendAufs)
		s.change(t, "child", func(dir string) { must(t, unix.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR|0o600, 0)) })
		rebooted(t)
		s = openStore(t, string(s.inner.home), backendAufs)
		sameNames(t, s.see(t, "child").names(), "device")
	})
}

// TestOldMark is about a mark as a file, which this driver made once.
func TestOldMark(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backendOverlay)
		s.create(t, "", "base")
		write(t, s.inner.home.diff("base"), files{"a": "", "b": ""})
		s.create(t, "base", "child")
		write(t, string(s.inner.home), files{"overlay/mark/child": "trusted\n"})
		must(t, unix.Mknod(filepath.Join(s.inner.home.diff("child"), "a"), unix.S_IFCHR, 0))
		sameNames(t, s.see(t, "child").names(), "b")
		s.atRest(t, "child")
	})
}
