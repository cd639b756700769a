//go:build linux

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// TestConvertOfTheStore converts a store some of whose layers are in use. Convert converts the others all the same, and its error names
// those in use.
func TestConvertOfTheStore(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		h := s.inner.Home
		s.create(t, "", "base")
		s.apply(t, "base", "", entry{Name: "gone"}, entry{Name: "kept"}, entry{Name: longName(255)})
		ids := []string{"busy", "detached", "elsewhere", "formless", "idle", "idle2", "below"}
		for _, id := range ids {
			s.create(t, "base", id)
			s.change(t, id, func(dir string) {
				must(t, os.Remove(filepath.Join(dir, "gone")))
				write(t, dir, files{id: id})
			})
		}
		s.change(t, "formless", func(dir string) { must(t, os.Remove(filepath.Join(dir, longName(255)))) })
		s.create(t, "below", "above")
		s.create(t, "base", "untouched")
		want := map[string]tree{}
		for _, id := range append(ids, "above") {
			want[id] = s.see(t, id, "ro")
		}
		t.Cleanup(wire.ExpectMessages("undefined behavior"))
		s.get(t, "elsewhere")
		end := leak(t)
		must(t, s.Put("elsewhere"))
		s.get(t, "detached")
		letGo := detach(t, s, "detached", "kept", unix.O_RDONLY)
		s.get(t, "busy")
		s.get(t, "above", "ro")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wants(t, maintenance.Convert(ctx, string(h)), context.Canceled)
		for _, id := range ids {
			s.hasForm(t, id, whiteout.OverlayTrusted)
		}
		for range 2 {
			err := maintenance.Convert(t.Context(), string(h))
			wants(t, err, unix.EBUSY, "busy", "detached", "elsewhere", "below", "above", "formless", longName(255))
			var busy *mountutil.BusyError
			if !errors.As(err, &busy) {
				t.Errorf("%v", err)
			}
			for _, id := range []string{"idle", "idle2"} {
				if strings.Contains(err.Error(), "layer "+id) {
					t.Error(err)
				}
				s.hasForm(t, id, whiteout.AufsForm)
			}
			for _, id := range []string{"busy", "detached", "elsewhere", "below", "formless"} {
				s.hasForm(t, id, whiteout.OverlayTrusted)
			}
		}
		for _, id := range []string{"idle", "idle2", "formless"} {
			sameTree(t, s.see(t, id, "ro"), want[id])
		}
		end()
		letGo()
		must(t, s.Put("busy"))
		must(t, s.Put("above"))
		idleSoon(t, s, ids...)
		err := maintenance.Convert(t.Context(), string(h))
		wants(t, err, nil, "formless", longName(255))
		if errors.As(err, new(*mountutil.BusyError)) {
			t.Error(err)
		}
		must(t, s.Remove("formless"))
		must(t, maintenance.Convert(t.Context(), string(h)))
		for id := range want {
			if id == "formless" {
				continue
			}
			s.hasForm(t, id, whiteout.AufsForm)
			sameTree(t, s.see(t, id, "ro"), want[id])
			sameTree(t, s.see(t, id), want[id])
		}
		must(t, s.Cleanup())
		noLeftovers(t, s)
	})
}

// TestConvertFindsEachMount mounts a layer on top of another one in each possible way. Convert finds each mount, although it shares nothing
// but the store with the driver that made the mount.
func TestConvertFindsEachMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		t.Cleanup(wire.ExpectMessages("undefined behavior"))
		s := busyStore(t, name, directions[0])
		for _, hold := range mountHolds {
			for _, options := range [][]string{nil, {"ro"}} {
				t.Run(fmt.Sprint(hold.name, options), func(t *testing.T) {
					s.get(t, "top", options...)
					end := hold.begin(t, s, "top")
					before := allOf(t, s.inner.Home.Diff("layer"))
					err := maintenance.Convert(t.Context(), string(s.inner.Home))
					var busy *mountutil.BusyError
					if !errors.As(err, &busy) || busy.Target != s.inner.Home.Mnt("top") {
						t.Errorf("the error is %v", err)
					}
					changedOnly(t, allOf(t, s.inner.Home.Diff("layer")), before)
					end()
					if !hold.elsewhere && !hold.detached {
						must(t, s.Put("top"))
					}
					idleSoon(t, s, "layer", "top")
				})
			}
		}
		must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
		s.hasForm(t, "layer", whiteout.AufsForm)
		must(t, s.Cleanup())
		// Open sweeps what the store still has about mounts that nobody has unmounted.
		noLeftovers(t, openStore(t, string(s.inner.Home), name))
	})
}

// TestConvertOfOtherStores converts stores in which there is nothing to convert.
func TestConvertOfOtherStores(t *testing.T) {
	wants(t, maintenance.Convert(t.Context(), t.TempDir()), os.ErrNotExist)
	wants(t, maintenance.Convert(t.Context(), filepath.Join(t.TempDir(), "nothing")), os.ErrNotExist)
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		s.apply(t, "base", "", entry{Name: "f"})
		s.apply(t, "child", "base", entry{Name: ".wh.f"})
		must(t, s.Cleanup())
		// The in-tree driver leaves a store like this.
		must(t, os.RemoveAll(s.inner.Home.Overlay()))
		must(t, os.RemoveAll(s.inner.Home.Tmp()))
		before := allOf(t, s.inner.Home.Diff(""))
		for range 2 {
			must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
		}
		sameTree(t, allOf(t, s.inner.Home.Diff("")), before)
		// The record of a layer that is gone.
		setRecord(t, s.inner.Home, "gone", "trusted")
		must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
		s = openStore(t, string(s.inner.Home), name)
		sameNames(t, s.see(t, "child").Names())
		noLeftovers(t, s)
	})
}

// TestConvertWhatAufsHides has a container on overlayfs delete files in directories that aufs does not show: d, beside a file .wh.d, and those whose
// names begin with .wh. A conversion and back changes nothing that overlayfs shows.
func TestConvertWhatAufsHides(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "parent", "layer")
		s.change(t, "parent", func(dir string) {
			write(t, dir, files{
				"d/gone": "", "d/kept": "", "d/sub/old": "", ".wh.e/gone": "", ".wh.e/kept": "", "d/.wh..wh.f/gone": "", "d/.wh..wh.f/kept": "",
			})
		})
		s.change(t, "layer", func(dir string) {
			for _, gone := range []string{"d/gone", "d/sub", ".wh.e/gone", "d/.wh..wh.f/gone"} {
				must(t, os.RemoveAll(filepath.Join(dir, gone)))
			}
			write(t, dir, files{".wh.d": "", "d/sub/new": ""})
		})
		shown := s.see(t, "layer")
		sameNames(t, shown.Names(), ".wh.d", ".wh.e", ".wh.e/kept", "d", "d/.wh..wh.f", "d/.wh..wh.f/kept", "d/kept", "d/sub", "d/sub/new")
		for range 2 {
			must(t, s.inner.Forms.LayerToAufs("layer"))
			s.hasForm(t, "layer", whiteout.AufsForm)
			sameTree(t, s.see(t, "layer"), shown)
			if f, err := s.inner.Home.Form("layer"); err != nil || f != store.OwnForm() {
				t.Errorf("form %s, %v", f, err)
			}
		}
	})
}

// TestConvertNamesLikeHiddenOnes has a layer delete a file whose name has what HideOwnFile puts into names.
func TestConvertNamesLikeHiddenOnes(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "layer")
		s.apply(t, "base", "", entry{Name: "d/x" + whiteout.HiddenInfix + "y"}, entry{Name: "x" + whiteout.HiddenInfix + "y"})
		s.apply(t, "layer", "base", entry{Name: "d/.wh.x" + whiteout.HiddenInfix + "y"}, entry{Name: ".wh.x" + whiteout.HiddenInfix + "y"})
		sameNames(t, s.see(t, "layer", "ro").Names(), "d")
		sameNames(t, s.see(t, "layer").Names(), "d")
		s.hasForm(t, "layer", store.OwnForm())
	})
}

// TestDeviceBelowAWhiteoutName has an ancestor with a character device 0/0 where no mount shows it.
func TestDeviceBelowAWhiteoutName(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "layer")
		write(t, s.inner.Home.Diff("base"), files{"f": "", ".wh.d": ""})
		for _, dir := range []string{"d", ".wh.e"} {
			device(t, filepath.Join(s.inner.Home.Diff("base"), dir, "zero"))
		}
		sameNames(t, s.see(t, "layer").Names(), "f")
	})
}

// TestConvertWhileOthersWork converts a store again and again while layers of it are mounted and changed.
func TestConvertWhileOthersWork(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "child")
		for n := range 20 {
			write(t, s.inner.Home.Diff("base"), files{fmt.Sprintf("f%02d", n): "f"})
		}
		done := make(chan error)
		go func() {
			var errs []error
			for range 20 {
				if err := maintenance.Convert(context.Background(), string(s.inner.Home)); err != nil && !errors.Is(err, unix.EBUSY) {
					errs = append(errs, err)
				}
			}
			done <- errors.Join(errs...)
		}()
		for n := range 20 {
			s.change(t, "child", func(dir string) {
				entries, err := os.ReadDir(dir)
				if err != nil || len(entries) != 20-n {
					t.Errorf("after %d deletions the layer shows %d files, %v", n, len(entries), err)
				}
				must(t, os.Remove(filepath.Join(dir, fmt.Sprintf("f%02d", n))))
			})
		}
		must(t, <-done)
		must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
		s.hasForm(t, "child", whiteout.AufsForm)
		sameNames(t, s.see(t, "child").Names())
	})
}

// meanwhile is a backend that calls do right before its next mount.
type meanwhile struct {
	backend.Backend
	do func()
}

func (m *meanwhile) Mount(s backend.Stack) error {
	if do := m.do; do != nil {
		m.do = nil
		do()
	}
	return m.Backend.Mount(s)
}

// TestConvertRightBeforeAMount converts a layer after the driver has found out how to mount it below another one. The mount still shows the
// right files.
func TestConvertRightBeforeAMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, d := range directions {
			for _, options := range [][]string{{"ro"}, nil} {
				t.Run(fmt.Sprint(d.name, options), func(t *testing.T) {
					s := busyStore(t, name, d)
					want := s.see(t, "top", "ro")
					m := &meanwhile{Backend: s.inner.Backend, do: func() { must(t, d.convert(s, "layer")) }}
					s.inner.Backend = m
					for range 2 {
						sameTree(t, s.see(t, "top", options...), want)
					}
					if m.do != nil {
						t.Error("nothing was mounted")
					}
					if f, err := s.inner.Home.Form("layer"); err != nil || f == d.from {
						t.Errorf("the layer is in form %q, %v", f, err)
					}
					s.oneForm(t, "layer")
				})
			}
		}
	})
}
