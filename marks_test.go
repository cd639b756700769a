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
	})
}
