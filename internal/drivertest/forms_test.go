//go:build linux

package drivertest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/moving"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/core/removal"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// recordOf returns the record of the layer id as it is on the disk, or "" if there is none.
func recordOf(t *testing.T, h store.Home, id string) string {
	t.Helper()
	target, err := os.Readlink(h.Overlay(store.FormDir, id))
	if !errors.Is(err, fs.ErrNotExist) {
		must(t, err)
	}
	return target
}

// setRecord makes target the record of the layer id.
func setRecord(t *testing.T, h store.Home, id, target string) {
	t.Helper()
	must(t, fsutil.IgnoreGone(os.Remove(h.Overlay(store.FormDir, id))))
	must(t, store.LinkIn(target, h.Overlay(store.FormDir), id))
}

func TestFormRecordIsParsed(t *testing.T) {
	for target, want := range map[string]store.FormRecord{
		"trusted":            {Form: whiteout.OverlayTrusted},
		"user":               {Form: whiteout.OverlayUser},
		"trusted converting": {Form: whiteout.OverlayTrusted, Converting: true},
		"user converting":    {Form: whiteout.OverlayUser, Converting: true},
		"aufs":               {Form: whiteout.AufsForm},
	} {
		if r, ok := store.ParseFormRecord(target); !ok || r != want || r.String() != target {
			t.Errorf("%q is %+v, %t", target, r, ok)
		}
	}
	for _, odd := range []string{
		"", " ", "converting", " converting", "aufs converting", "trusted  converting", "trusted converting converting", "trusted converting ",
		"Trusted", "trusted ", " user", "user\n", "overlay", "trusted:lowers", "user>aufs", "../trusted", strings.Repeat("x", 4000),
	} {
		if r, ok := store.ParseFormRecord(odd); ok {
			t.Errorf("%q is %+v", odd, r)
		}
	}
}

func TestFormRecordIsReplaced(t *testing.T) {
	h := storeOf(t)
	must(t, os.MkdirAll(h.Tmp(), 0o700))
	for _, r := range []store.FormRecord{
		{Form: whiteout.OverlayTrusted}, {Form: whiteout.OverlayTrusted, Converting: true}, {Form: whiteout.OverlayUser}, {Form: whiteout.OverlayUser, Converting: true}, {Form: whiteout.OverlayTrusted},
	} {
		must(t, h.SetForm("layer", r))
		if got, err := h.ReadForm("layer"); err != nil || got != r {
			t.Errorf("the record is %+v, %v, not %+v", got, err, r)
		}
		if f, err := h.Form("layer"); err != nil || f != r.Form {
			t.Errorf("the form is %q, %v", f, err)
		}
	}
	sameNames(t, readTree(t, h.Tmp()).Names())
	for range 2 {
		must(t, h.UnsetForm("layer"))
		if f, err := h.Form("layer"); err != nil || f != whiteout.AufsForm || recordOf(t, h, "layer") != "" {
			t.Errorf("without a record the form is %q, %v", f, err)
		}
	}
}

// TestUnreadableForm has a record that says nothing that can be trusted. Nobody touches the layer, or mounts a layer on top of it.
func TestUnreadableForm(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, place := range map[string]func(path string) error{
			"odd link":  func(path string) error { return os.Symlink("junk", path) },
			"file":      func(path string) error { return os.WriteFile(path, []byte("junk"), 0o600) },
			"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				h := s.inner.Home
				s.create(t, "", "base", "child", "grandchild")
				s.apply(t, "child", "base", entry{Name: ".wh.x"}, entry{Name: "f", Content: "f"})
				path := h.Overlay(store.FormDir, "child")
				must(t, os.MkdirAll(filepath.Dir(path), 0o700))
				must(t, os.RemoveAll(h.Overlay(store.KnownDir)))
				must(t, place(path))
				before := allOf(t, h.Diff("child"))
				for what, do := range map[string]func() error{
					"Get":           func() error { _, err := s.Get("child", driver.GetOptions{}); return err },
					"read-only Get": func() error { _, err := s.Get("child", driver.GetOptions{Options: []string{"ro"}}); return err },
					"Get of a child": func() error {
						_, err := s.Get("grandchild", driver.GetOptions{})
						return err
					},
					"Diff":     func() error { _, err := s.Diff("child", nil, "base", nil); return err },
					"Changes":  func() error { _, err := s.Changes("child", nil, "base", nil); return err },
					"DiffSize": func() error { _, err := s.DiffSize("child", nil, "base", nil); return err },
					"Convert":  func() error { return maintenance.Convert(t.Context(), string(h)) },
				} {
					err := do()
					if err == nil {
						t.Errorf("%s: no error", what)
						continue
					}
					wants(t, err, nil, "child", path)
				}
				sameTree(t, allOf(t, h.Diff("child")), before)
				noMounts(t, h.Mnt(""))
				must(t, os.RemoveAll(path))
				sameNames(t, s.see(t, "child").Names(), "f")
				must(t, s.Remove("grandchild"))
				must(t, place(path+"x"))
				must(t, os.RemoveAll(path+"x"))
				// Such a record does not keep anybody from removing the layer.
				must(t, os.RemoveAll(path))
				must(t, place(path))
				must(t, s.Remove("child"))
				noLeftovers(t, s)
			})
		}
	})
}

// TestFormOfAWrittenLayer shows that the first writable mount by overlayfs records the form of a layer, and that the record stays. A mount by
// aufs makes no record.
func TestFormOfAWrittenLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		h := s.inner.Home
		s.create(t, "", "base", "child", "top")
		s.apply(t, "base", "", entry{Name: "f"}, entry{Name: "g"}, entry{Name: "d/f"})
		is := func(when string) {
			t.Helper()
			want := string(store.OwnForm())
			if name == backend.Aufs {
				want = ""
			}
			if got := recordOf(t, h, "child"); got != want {
				t.Errorf("%s: the record is %q", when, got)
			}
		}
		s.see(t, "child", "ro")
		s.see(t, "top")
		sameNames(t, s.changes(t, "child", "base"))
		s.apply(t, "child", "base", entry{Name: "own"})
		if got := recordOf(t, h, "child"); got != "" {
			t.Errorf("a layer that nobody has mounted writable has the record %q", got)
		}
		dir := s.get(t, "child")
		is("mounted")
		must(t, os.Remove(filepath.Join(dir, "f")))
		must(t, s.Put("child"))
		is("after Put")
		s.hasForm(t, "child", s.written())
		want := s.see(t, "child", "ro")
		s = openStore(t, string(h), name)
		is("after Init")
		sameTree(t, s.see(t, "top", "ro"), want)
		if problems, err := maintenance.Check(t.Context(), string(h)); err != nil || len(problems) > 0 {
			t.Errorf("Check: %v, %v", problems, err)
		}
		if problems, err := maintenance.Repair(t.Context(), string(h)); err != nil || len(problems) > 0 {
			t.Errorf("Repair: %v, %v", problems, err)
		}
		is("after Repair")
		sameNames(t, keysOf(s.diff(t, "child", "base")), "own", ".wh.f")
		sameTree(t, s.see(t, "child"), want)
		must(t, s.Remove("top"))
		must(t, s.Remove("child"))
		if got := recordOf(t, h, "child"); got != "" {
			t.Errorf("the record %q outlives its layer", got)
		}
		// A new layer of that name has no record.
		s.create(t, "base", "child")
		if got := recordOf(t, h, "child"); got != "" {
			t.Errorf("the record of a new layer is %q", got)
		}
		must(t, s.Remove("child"))
		noLeftovers(t, s)
	})
}

// TestFormOfABase follows the record of a layer without parents, whose directory Get gives to whoever asks for it.
func TestFormOfABase(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		h := s.inner.Home
		s.create(t, "", "base", "child")
		s.apply(t, "base", "", entry{Name: "d/f"})
		sameNames(t, s.see(t, "child", "ro").Names(), "d", "d/f")
		s.see(t, "base", "ro")
		if got := recordOf(t, h, "base"); got != "" {
			t.Errorf("one that was only read has the record %q", got)
		}
		known := h.Overlay(store.KnownDir, string(s.inner.Shadows.To), "base")
		if !store.IsThere(known) {
			t.Error("nothing is known of one that was only read")
		}
		dir := s.get(t, "base")
		if got := recordOf(t, h, "base"); got != string(whiteout.AufsForm) {
			t.Errorf("one that was given out has the record %q", got)
		}
		for _, text := range []string{"first", "second"} {
			must(t, os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "moved")))
			must(t, os.Rename(filepath.Join(dir, "moved"), filepath.Join(dir, "d")))
			write(t, dir, files{"d/" + text: text})
			sameNames(t, s.see(t, "child", "ro").Names(), readTree(t, h.Diff("base")).Names()...)
			if store.IsThere(known) {
				t.Error("what is known is kept of a layer that somebody writes to")
			}
			must(t, s.Put("base"))
			s = openStore(t, string(h), name)
			// Somebody may still write to the directory after his Put.
		}
		s.hasForm(t, "base", whiteout.AufsForm)
		must(t, s.Remove("child"))
		must(t, s.Remove("base"))
		noLeftovers(t, s)
	})
}

// cutShort makes the layer child, on top of base and middle, as a conversion that was cut short leaves it: with marks of both forms. It
// returns what child must show.
func cutShort(t *testing.T, s testStore) []string {
	t.Helper()
	s.create(t, "", "base", "middle", "child", "grandchild")
	s.apply(t, "base", "", entry{Name: "a"}, entry{Name: "b"}, entry{Name: "kept"}, entry{Name: "d/x"}, entry{Name: "e/x"}, entry{Name: "e/y"})
	s.apply(t, "child", "middle",
		entry{Name: ".wh.a"}, entry{Name: ".wh.b"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/new"}, entry{Name: "e/"}, entry{Name: "e/.wh.x"})
	dir := s.inner.Home.Diff("child")
	must(t, s.inner.Home.SetForm("child", store.FormRecord{Form: whiteout.OverlayTrusted, Converting: true}))
	must(t, os.Remove(filepath.Join(dir, ".wh.b")))
	must(t, unix.Mknod(filepath.Join(dir, "b"), unix.S_IFCHR, 0))
	must(t, os.Remove(filepath.Join(dir, "d/.wh..wh..opq")))
	must(t, unix.Lsetxattr(filepath.Join(dir, "d"), "trusted.overlay.opaque", []byte("y"), 0))
	must(t, s.inner.Home.Invalidate("child"))
	return []string{"kept", "d", "d/new", "e", "e/y"}
}

// TestCutShortConversionIsFinished has a record say that a conversion has begun. Whoever mounts the layer, or a layer on top of it,
// finishes the conversion; whoever only reads the layer reads both forms.
func TestCutShortConversionIsFinished(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for how, do := range map[string]func(t *testing.T, s testStore) []string{
			"writable":       func(t *testing.T, s testStore) []string { t.Helper(); return s.see(t, "child").Names() },
			"read-only":      func(t *testing.T, s testStore) []string { t.Helper(); return s.see(t, "child", "ro").Names() },
			"ancestor":       func(t *testing.T, s testStore) []string { t.Helper(); return s.see(t, "grandchild").Names() },
			"ancestor of ro": func(t *testing.T, s testStore) []string { t.Helper(); return s.see(t, "grandchild", "ro").Names() },
			"Convert": func(t *testing.T, s testStore) []string {
				t.Helper()
				must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
				s.hasForm(t, "child", whiteout.AufsForm)
				return s.see(t, "child", "ro").Names()
			},
		} {
			t.Run(how, func(t *testing.T) {
				s := newStore(t, name)
				want := cutShort(t, s)
				sameNames(t, keysOf(s.diff(t, "child", "middle")), ".wh.a", ".wh.b", "d/", "d/.wh..wh..opq", "d/new", "e/", "e/.wh.x")
				sameNames(t, s.changes(t, "child", "middle"), "D /a", "D /b", "C /d", "D /d/x", "A /d/new", "C /e", "D /e/x")
				s = openStore(t, string(s.inner.Home), name)
				if got := recordOf(t, s.inner.Home, "child"); got != "trusted converting" {
					t.Errorf("the record is %q", got)
				}
				sameNames(t, do(t, s), want...)
				s.oneForm(t, "child")
				for _, id := range []string{"child", "grandchild"} {
					sameNames(t, s.see(t, id, "ro").Names(), want...)
					sameNames(t, s.see(t, id).Names(), want...)
				}
			})
		}
	})
}

// TestCutShortConversionInAReadOnlyStore has a conversion that cannot be finished: the error says so.
func TestCutShortConversionInAReadOnlyStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		cutShort(t, s)
		must(t, s.Cleanup())
		home := readOnlyCopy(t, s)
		r, err := reopen(home, name)
		must(t, err)
		for _, id := range []string{"child", "grandchild"} {
			_, err = r.Get(id, driver.GetOptions{Options: []string{"ro"}})
			wants(t, err, unix.EROFS, "child", "conver")
		}
		noMounts(t, filepath.Join(home, store.MntDir))
		sameNames(t, keysOf(r.diff(t, "child", "middle")), ".wh.a", ".wh.b", "d/", "d/.wh..wh..opq", "d/new", "e/", "e/.wh.x")
		sameNames(t, r.see(t, "middle", "ro").Names(), "a", "b", "kept", "d", "d/x", "e", "e/x", "e/y")
		must(t, r.Cleanup())
	})
}

// readOnlyCopy mounts the store of s, in which nothing may be mounted, read-only at another place until the test ends.
func readOnlyCopy(t *testing.T, s testStore) (home string) {
	t.Helper()
	home = filepath.Join(t.TempDir(), "home")
	must(t, os.Mkdir(home, 0o700))
	must(t, unix.Mount(string(s.inner.Home), home, "", unix.MS_BIND, ""))
	t.Cleanup(func() { must(t, mountutil.UnmountRetry(home)) })
	must(t, unix.Mount("", home, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	return home
}

// TestFormsInAReadOnlyStore mounts layers in a store that cannot be written to. Earlier mounts have left the layers in the backend's form.
func TestFormsInAReadOnlyStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child", "top")
		s.apply(t, "base", "", entry{Name: "gone"}, entry{Name: "kept"}, entry{Name: "d/x"})
		s.change(t, "child", func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "gone")))
			must(t, os.RemoveAll(filepath.Join(dir, "d")))
			write(t, dir, files{"d/new": ""})
		})
		s.change(t, "top", func(dir string) { must(t, os.Remove(filepath.Join(dir, "kept"))) })
		must(t, s.Cleanup())
		r, err := reopen(readOnlyCopy(t, s), name)
		must(t, err)
		sameNames(t, r.see(t, "child", "ro").Names(), "kept", "d", "d/new")
		sameNames(t, r.see(t, "top", "ro").Names(), "d", "d/new")
		sameNames(t, keysOf(r.diff(t, "child", "base")), ".wh.gone", "d/", "d/.wh..wh..opq", "d/new")
		must(t, r.Cleanup())
	})
}

// TestLayerLeftByACrash has a process or the host go down while a layer is mounted: the layer reads as it was.
func TestLayerLeftByACrash(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, next := range []string{"Get", "read-only Get", "Diff", "Changes", "ApplyDiff", "child", "read-only child", "Repair", "Convert", "Remove"} {
			t.Run(next, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base")
				write(t, s.inner.Home.Diff("base"), files{"a": "", "b": "", "d/x": ""})
				s.create(t, "base", "child", "grandchild")
				dir := s.get(t, "child")
				must(t, os.Remove(filepath.Join(dir, "a")))
				must(t, os.RemoveAll(filepath.Join(dir, "d")))
				write(t, dir, files{"d/y": ""})
				must(t, unix.Unmount(dir, 0))
				s = openStore(t, string(s.inner.Home), name)
				s.hasForm(t, "child", s.written())
				want := []string{"b", "d", "d/y"}
				switch next {
				case "Get":
					sameNames(t, s.see(t, "child").Names(), want...)
				case "read-only Get":
					sameNames(t, s.see(t, "child", "ro").Names(), want...)
				case "Diff":
					sameNames(t, keysOf(s.diff(t, "child", "base")), ".wh.a", "d/", "d/.wh..wh..opq", "d/y")
				case "Changes":
					sameNames(t, s.changes(t, "child", "base"), "D /a", "C /d", "D /d/x", "A /d/y")
				case "ApplyDiff":
					s.apply(t, "child", "base", entry{Name: "c"})
					want = append(want, "c")
				case "child":
					sameNames(t, s.see(t, "grandchild").Names(), want...)
				case "read-only child":
					sameNames(t, s.see(t, "grandchild", "ro").Names(), want...)
				case "Repair":
					left, err := maintenance.Repair(t.Context(), string(s.inner.Home))
					if err != nil || len(left) > 0 {
						t.Errorf("%v, %v", left, err)
					}
				case "Convert":
					must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
					s.hasForm(t, "child", whiteout.AufsForm)
				case "Remove":
					must(t, s.Remove("grandchild"))
					must(t, s.Remove("child"))
					noLeftovers(t, s)
					return
				}
				sameNames(t, s.see(t, "child").Names(), want...)
				sameNames(t, s.see(t, "grandchild").Names(), want...)
				s.hasForm(t, "child", s.written())
				noLeftovers(t, s)
			})
		}
	})
}

// TestUserFormOutsideOfAUserNamespace has root mount a layer that a user without root has written, by itself and below another layer.
func TestUserFormOutsideOfAUserNamespace(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		if !hasUserXattrs(t) {
			t.Skip("the tests' file system has no attributes of users")
		}
		s := newStore(t, name)
		s.create(t, "", "base", "child", "top")
		s.apply(t, "base", "", entry{Name: "gone"}, entry{Name: "kept"}, entry{Name: "d/x"}, entry{Name: "e/f/x"}, entry{Name: "e/f/y"})
		s.apply(t, "child", "base", entry{Name: ".wh.gone"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/new"},
			entry{Name: "e/f/"}, entry{Name: "e/f/.wh.x"})
		must(t, s.inner.Forms.ToOverlay("child", whiteout.OverlayUser, func() bool { return false }))
		s.hasForm(t, "child", whiteout.OverlayUser)
		want := []string{"kept", "d", "d/new", "e", "e/f", "e/f/y"}
		for range 2 {
			sameNames(t, s.see(t, "top", "ro").Names(), want...)
			sameNames(t, s.see(t, "child", "ro").Names(), want...)
			sameNames(t, s.see(t, "top").Names(), want...)
		}
		// A mount of overlayfs would show the attributes.
		s.hasForm(t, "child", map[backend.Name]whiteout.Form{backend.Aufs: whiteout.OverlayUser, backend.Overlay: whiteout.AufsForm}[name])
		sameNames(t, keysOf(s.diff(t, "child", "base")), ".wh.gone", "d/", "d/.wh..wh..opq", "d/new", "e/", "e/f/", "e/f/.wh.x")
		sameNames(t, s.see(t, "child").Names(), want...)
		s.hasForm(t, "child", s.written())
		sameNames(t, s.see(t, "top").Names(), want...)
	})
}

// TestUserMountOnAnOldRelease shows that a mount of a user without root counts as one on a kernel with an old number, which may have what makes such
// mounts possible.
func TestUserMountOnAnOldRelease(t *testing.T) {
	if home := os.Getenv(childVariable); home != "" {
		if fsutil.KernelFrom(3, 0) {
			t.Error("the kernel does not say that it is Linux 2.6")
		}
		h := store.Home(home)
		used, err := inuse.NewProbe(h, "").UpperInUse(h.Diff("child"), whiteout.OverlayUser)
		if err != nil || !used {
			t.Errorf("used: %v, %v", used, err)
		}
		return
	}
	onOverlay(t, func(t *testing.T) {
		needUserXattrs(t)
		needKernel(t, 5, 11, "this kernel's overlayfs has no attributes of users")
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "child")
		h, target := s.inner.Home, t.TempDir()
		work := filepath.Join(string(h), "work")
		must(t, os.Mkdir(work, 0o700))
		must(t, overlayfs.Mount{Target: target, Lowers: []string{h.Diff("base")}, Upper: h.Diff("child"), Work: work, UserXattr: true}.Mount())
		defer func() { must(t, mountutil.UnmountRetry(target)) }()

		// A thread passes its personality to the processes that it starts.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		const uname26 = 0x20000
		had, _, errno := unix.Syscall(unix.SYS_PERSONALITY, uname26, 0, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		c.Env = append(os.Environ(), childVariable+"="+string(h))
		out, err := c.CombinedOutput()
		if _, _, errno := unix.Syscall(unix.SYS_PERSONALITY, had, 0, 0); errno != 0 {
			t.Error(errno)
		}
		if err != nil || !strings.Contains(string(out), "--- PASS: ") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestOverlayInAUserNamespace does what a user without root does, if the kernel allows it.
func TestOverlayInAUserNamespace(t *testing.T) {
	home := os.Getenv(childVariable)
	if home == "" {
		onOverlay(t, func(t *testing.T) {
			if !hasUserXattrs(t) {
				t.Skip("the tests' file system has no attributes of users")
			}
			// Root has written a layer of this store before.
			s := newStore(t, backend.Overlay)
			s.create(t, "", "base", "trusted")
			s.apply(t, "base", "", entry{Name: "f"})
			s.change(t, "trusted", func(dir string) { must(t, os.Remove(filepath.Join(dir, "f"))) })
			must(t, s.Cleanup())
			out, err := inNamespaces(t, string(s.inner.Home), "-U", "-r", "-m")
			if err != nil || !strings.Contains(out, "--- PASS: "+t.Name()) {
				t.Errorf("%v\n%s", err, out)
			}
			t.Log(out)
		})
		return
	}
	t.Run("overlay", func(t *testing.T) { inUserNamespaceOf(t, home) })
}

// inUserNamespaceOf runs in a user namespace. Root has written the store at home.
func inUserNamespaceOf(t *testing.T, home string) {
	t.Helper()
	d, err := driver.Open(home, configFor(backend.Overlay))
	if err != nil {
		wants(t, err, store.ErrPrerequisites, "user namespace")
		t.Logf("this kernel does not allow it: %v", err)
		return
	}
	// The marks of the layer trusted cannot be read here.
	for _, options := range [][]string{nil, {"ro"}} {
		_, err = d.Get("trusted", driver.GetOptions{Options: options})
		wants(t, err, nil, "trusted", "outside of this user namespace")
	}
	wants(t, maintenance.Convert(t.Context(), home), nil, "trusted", "outside of this user namespace")
	move := moving.New(store.Home(home), home+"-overlay", "", home+"-journal", false)
	wants(t, move.Check([]moving.Layer{{ID: "base"}, {ID: "trusted"}}), nil, "moving layer trusted", "outside of this user namespace")
	must(t, d.Cleanup())
	s := changed(t, backend.Overlay)
	if f := s.inner.Backend.(*backend.OverlayBackend).Form; f != whiteout.OverlayUser { //nolint:forcetypeassert // it is one
		t.Errorf("the form is %s", f)
	}
	s.hasForm(t, "child", whiteout.OverlayUser)
	sameNames(t, s.changes(t, "child", "base"),
		"A /added", "C /becomesdir", "A /becomesdir/f", "C /becomesfile", "D /deleted", "C /dir", "D /dir/deleted", "D /gone",
		"C /modified", "A /newdir", "A /newdir/f", "C /replaced", "A /replaced/new", "D /replaced/old", "D /replaced/sub")
	unmounted := keysOf(s.diff(t, "child", "base"))
	want := s.see(t, "child").Names()
	s.create(t, "child", "grandchild", "top")
	sameNames(t, s.see(t, "grandchild").Names(), want...)
	s.get(t, "child")
	sameNames(t, keysOf(s.diff(t, "child", "base")), unmounted...)
	must(t, s.Put("child"))
	must(t, s.Remove("top"))
	must(t, s.Remove("grandchild"))
	s.create(t, "child", "grandchild", "top")
	s.apply(t, "grandchild", "child", entry{Name: ".wh.added"}, entry{Name: "more", Content: "m"}, entry{Name: "dir/"}, entry{Name: "dir/.wh..wh..opq"})
	s.see(t, "top", "ro")
	for _, id := range []string{"top", "grandchild"} {
		got := s.see(t, id)
		if got["added"] != "" || got["more"] == "" || got["dir"] == "" || got["dir/kept"] != "" {
			t.Errorf("%s shows %q", id, got.Names())
		}
	}
	s.hasForm(t, "grandchild", whiteout.OverlayUser)
	want = s.see(t, "top").Names()
	must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
	s.hasForm(t, "child", whiteout.AufsForm)
	s.hasForm(t, "grandchild", whiteout.AufsForm)
	sameNames(t, s.see(t, "top", "ro").Names(), want...)
	sameNames(t, keysOf(s.diff(t, "child", "base")), unmounted...)
	t.Log("overlayfs works in a user namespace")
}

// TestReplaceLinkWhileTheStoreIsSwept sets records while the store is swept. The sweep may remove a link that is about to become a
// record, because it takes the link for a leftover. SetForm succeeds all the same.
func TestReplaceLinkWhileTheStoreIsSwept(t *testing.T) {
	needRoot(t)
	h := storeOf(t)
	must(t, os.MkdirAll(h.Tmp(), 0o700))
	must(t, os.MkdirAll(h.Overlay(), 0o700))
	d := &driver.Driver{Home: h, Remover: removal.New(h, nil)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			select {
			case <-stop:
				return
			default:
				_ = d.Remover.RemoveAbandoned(t.Context(), func(error) {})
			}
		}
	}()
	for n := range 1000 {
		if err := h.SetForm("layer", store.FormRecord{Form: whiteout.OverlayTrusted, Converting: n%2 == 0}); err != nil {
			t.Errorf("%d: %v", n, err)
			break
		}
	}
	close(stop)
	wg.Wait()
}

// TestBaseOfAReadOnlyStoreIsGivenOut shows that Get gives out the directory of a layer without parents even if nobody can write to the
// store.
func TestBaseOfAReadOnlyStoreIsGivenOut(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		s.apply(t, "base", "", entry{Name: "d/f"})
		must(t, s.Cleanup())
		home := filepath.Join(t.TempDir(), "home")
		must(t, os.Mkdir(home, 0o700))
		must(t, unix.Mount(string(s.inner.Home), home, "", unix.MS_BIND, ""))
		defer func() { must(t, unix.Unmount(home, 0)) }()
		must(t, unix.Mount("", home, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		r, err := reopen(home, name)
		must(t, err)
		sameNames(t, r.see(t, "base").Names(), "d", "d/f")
		must(t, r.Cleanup())
	})
}

// TestKnownOfALayerWithARecord has cached knowledge of a layer in overlay form, as a power cut may leave it. A mount on top of the layer
// does not hang, and shows the right files.
func TestKnownOfALayerWithARecord(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		h := s.inner.Home
		s.create(t, "", "base", "layer", "top")
		s.apply(t, "base", "", entry{Name: "d/f"}, entry{Name: "g"})
		s.apply(t, "layer", "base", entry{Name: ".wh.g"})
		for _, r := range []store.FormRecord{{Form: whiteout.OverlayTrusted, Converting: true}, {Form: whiteout.OverlayTrusted}} {
			sameNames(t, s.see(t, "top", "ro").Names(), "d", "d/f")
			must(t, h.SetForm("layer", r))
			sameNames(t, s.see(t, "top").Names(), "d", "d/f")
			must(t, h.UnsetForm("layer"))
		}
		sameNames(t, s.see(t, "top", "ro").Names(), "d", "d/f")
		must(t, os.Symlink("junk", h.Overlay(store.FormDir, "layer")))
		_, err := s.Get("top", driver.GetOptions{})
		if name == backend.Aufs {
			wants(t, err, nil, "layer", "junk")
		} else {
			must(t, errors.Join(err, s.Put("top")))
		}
		noMounts(t, h.Mnt(""))
	})
}

// TestNewContainersHaveTheirForm makes layers as those of containers are made: their first mount need not record the form. If an archive is
// applied to such a layer, the layer is in aufs form.
func TestNewContainersHaveTheirForm(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		s.apply(t, "base", "", entry{Name: "f", Content: "f"})
		must(t, s.CreateReadWrite("container", "base", nil))
		must(t, s.CreateFromTemplate("copy", "base", nil, true))
		must(t, s.CreateFromTemplate("image", "base", nil, false))
		must(t, s.CreateReadWrite("filled", "base", nil))
		s.hasForm(t, "container", s.written())
		s.hasForm(t, "copy", s.written())
		s.hasForm(t, "image", whiteout.AufsForm)
		s.apply(t, "filled", "base", entry{Name: ".wh.f"})
		s.hasForm(t, "filled", whiteout.AufsForm)
		must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
		s.hasForm(t, "container", whiteout.AufsForm)
		for _, id := range []string{"container", "copy", "image"} {
			sameNames(t, s.see(t, id).Names(), "f")
		}
		sameNames(t, s.see(t, "filled").Names())
		must(t, s.Remove("container"))
		noLeftovers(t, s)
	})
}

// TestConvertedBaseIsGivenOutStill has somebody write to the directory of a layer without parents after the layer was converted: the driver
// has cached nothing that is wrong then.
func TestConvertedBaseIsGivenOutStill(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		h := s.inner.Home
		s.create(t, "", "base", "child")
		s.apply(t, "base", "", entry{Name: "d/f"})
		dir := s.get(t, "base")
		must(t, s.Put("base"))
		must(t, s.inner.Forms.ToOverlay("base", whiteout.OverlayTrusted, func() bool { return false }))
		must(t, maintenance.Convert(t.Context(), string(h)))
		s.hasForm(t, "base", whiteout.AufsForm)
		sameNames(t, s.see(t, "child").Names(), "d", "d/f")
		write(t, dir, files{"d/.wh.x": ""})
		sameNames(t, s.see(t, "child").Names(), "d", "d/f")
	})
}
