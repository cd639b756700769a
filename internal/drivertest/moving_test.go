//go:build linux

package drivertest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	overlaydriver "github.com/containers/storage/drivers/overlay"
	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/moving"
	"github.com/seed-642172e2/aufs/internal/core/owners"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// moved are the layers of stackToMove.
var moved = []moving.Layer{{ID: "box"}, {ID: "base"}, {ID: "middle"}}

// stackToMove makes an image of two layers, which has deletions and an opaque directory, and a container that was written to.
func stackToMove(t *testing.T, name backend.Name) testStore {
	t.Helper()
	s := newStore(t, name)
	s.create(t, "", "base")
	s.apply(t, "base", "", entry{Name: "d/"}, entry{Name: "d/gone", Content: "gone"}, entry{Name: "d/kept", Content: "kept"},
		entry{Name: "e/"}, entry{Name: "e/old", Content: "old"}, entry{Name: "file", Content: "file"})
	s.create(t, "base", "middle")
	s.apply(t, "middle", "base", entry{Name: "d/"}, entry{Name: "d/.wh.gone"}, entry{Name: "e/"}, entry{Name: "e/" + whiteout.OpaqueMark}, entry{Name: "e/new", Content: "new"})
	must(t, s.CreateReadWrite("box", "middle", nil))
	dir := s.get(t, "box")
	must(t, errors.Join(os.Remove(filepath.Join(dir, "d/kept")), os.RemoveAll(filepath.Join(dir, "e"))))
	write(t, dir, files{"e/made": "made", "file": "changed"})
	must(t, s.Put("box"))
	return s
}

// overlayHome opens the library's overlay driver on a new home, until the test ends.
func overlayHome(t *testing.T) (home string, d graphdriver.Driver) {
	t.Helper()
	root := t.TempDir()
	home = filepath.Join(root, "overlay")
	d, err := overlaydriver.Init(home, graphdriver.Options{Root: root, RunRoot: filepath.Join(root, "run"), DriverOptions: []string{"overlay.skip_mount_home=true"}})
	must(t, err)
	t.Cleanup(func() { must(t, d.Cleanup()) })
	return home, d
}

// newMove returns the move from s to the overlay driver's home or, if aufs is true, the other way round.
func newMove(t *testing.T, s testStore, overlay string, aufs bool) *moving.Move {
	t.Helper()
	return moving.New(s.inner.Home, overlay, "", filepath.Join(t.TempDir(), "journal"), aufs)
}

// toOverlay moves the layers of s to a new home of the overlay driver.
func (s testStore) toOverlay(t *testing.T, layers []moving.Layer) (home string, d graphdriver.Driver) {
	t.Helper()
	home, d = overlayHome(t)
	m := newMove(t, s, home, false)
	m.Create = func(id, parent string) error { return d.Create(id, parent, nil) }
	must(t, errors.Join(m.Check(layers), m.Unbind(), m.Run(layers)))
	// A move that was cut short after all of its work is repeated.
	must(t, errors.Join(m.Check(layers), m.Run(layers)))
	return home, d
}

// toAufs moves the layers of the overlay driver to the store.
func (s testStore) toAufs(t *testing.T, home string, layers []moving.Layer) {
	t.Helper()
	m := newMove(t, s, home, true)
	m.Create = func(id, parent string) error { return s.Create(id, parent, nil) }
	must(t, errors.Join(m.Check(layers), m.Unbind(), m.Run(layers)))
	must(t, errors.Join(m.Check(layers), m.Run(layers)))
}

// TestMoving moves layers to the library's overlay driver, and to another store of this driver.
func TestMoving(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := stackToMove(t, name)
		image, box := s.see(t, "middle", "ro"), s.see(t, "box", "ro")
		home, theirs := s.toOverlay(t, moved)
		for id, want := range map[string]tree{"middle": image, "box": box} {
			dir, err := theirs.Get(id, graphdriver.MountOpts{Options: []string{"ro"}})
			must(t, err)
			sameTree(t, readTree(t, dir), want)
			must(t, theirs.Put(id))
		}
		back := newStore(t, name)
		back.toAufs(t, home, moved)
		for id, want := range map[string]tree{"middle": image, "box": box} {
			sameTree(t, back.see(t, id, "ro"), want)
			must(t, back.inner.Forms.LayerToAufs(id))
			sameTree(t, back.see(t, id, "ro"), want)
		}
		noLeftovers(t, back)
	})
}

// TestMovingOverlayForm moves a layer that is in overlay form already, and has no aufs form. The move keeps no times of it: UndoConversions would take
// the layer for one that it has to bring back to aufs form.
func TestMovingOverlayForm(t *testing.T) {
	s := newStore(t, backend.Overlay)
	long := strings.Repeat("x", 253)
	s.create(t, "", "base")
	write(t, s.inner.Home.Diff("base"), files{long: "gone"})
	s.create(t, "base", "box")
	s.change(t, "box", func(dir string) { must(t, os.Remove(filepath.Join(dir, long))) })
	home, d := overlayHome(t)
	m := newMove(t, s, home, false)
	m.Create = func(id, parent string) error { return d.Create(id, parent, nil) }
	must(t, errors.Join(m.Unbind(), m.Run([]moving.Layer{{ID: "base"}})))
	must(t, errors.Join(os.Remove(m.Journal), os.WriteFile(m.Journal, nil, 0o600))) // so that no times can be kept
	must(t, m.Run([]moving.Layer{{ID: "base"}, {ID: "box"}}))
}

// TestMovingAgain moves layers when an earlier call was killed while the overlay driver made one of them: the file with the name of the layer's
// link is missing, or empty. All layers have one link after that.
func TestMovingAgain(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for state, damage := range map[string]func(link string) error{
			"whole":                  func(string) error { return nil },
			"no name":                os.Remove,
			"empty":                  func(link string) error { return os.Truncate(link, 0) },
			"a file among the links": func(link string) error { return os.WriteFile(filepath.Join(link, "../../l/.nfs01"), nil, 0o600) },
			"no layer":               func(link string) error { return os.RemoveAll(filepath.Dir(link)) },
		} {
			t.Run(state, func(t *testing.T) {
				s := stackToMove(t, name)
				box := s.see(t, "box", "ro")
				home, d := overlayHome(t)
				m := newMove(t, s, home, false)
				killed := errors.New("killed")
				m.Create = func(id, parent string) error {
					err := d.Create(id, parent, nil)
					if err == nil && id == "box" {
						err = errors.Join(damage(filepath.Join(home, id, "link")), killed)
					}
					return err
				}
				if err := errors.Join(m.Unbind(), m.Run(moved)); !errors.Is(err, killed) {
					t.Fatal(err)
				}
				m.Create = func(id, parent string) error { return d.Create(id, parent, nil) }
				must(t, m.Run(moved))
				if links, err := filepath.Glob(filepath.Join(home, "l/[A-Z0-9]*")); err != nil || len(links) != len(moved) {
					t.Errorf("the links of %d layers are %q, %v", len(moved), links, err)
				}
				dir, err := d.Get("box", graphdriver.MountOpts{Options: []string{"ro"}})
				must(t, err)
				sameTree(t, readTree(t, dir), box)
				must(t, d.Put("box"))
			})
		}
	})
}

// TestMovingShifted moves a container with id maps.
func TestMovingShifted(t *testing.T) {
	onShifting(t, func(t *testing.T, s testStore) {
		ownedImage(t, s)
		must(t, s.CreateReadWrite("box", "top", nil))
		dir := s.getShifted(t, "box", twoRanges)
		must(t, os.WriteFile(filepath.Join(dir, "made"), nil, 0o600))
		must(t, errors.Join(os.Lchown(filepath.Join(dir, "made"), 100_005, 100_006), os.Chmod(filepath.Join(dir, "d/f"), 0o600), s.Put("box")))
		want := s.seeShifted(t, "box", twoRanges)
		layers := []moving.Layer{{ID: "owned"}, {ID: "top"}, {ID: "box", Maps: twoRanges}}
		home, theirs := s.toOverlay(t, layers)
		dir, err := theirs.Get("box", graphdriver.MountOpts{UidMaps: theirMaps(twoRanges.UIDs), GidMaps: theirMaps(twoRanges.GIDs)})
		must(t, err)
		sameEntries(t, "with the overlay driver", ownedTree(t, dir, noMaps), want)
		must(t, theirs.Put("box"))
		back := newStore(t, s.backend, withAuto)
		back.toAufs(t, home, layers)
		sameEntries(t, "back again", back.seeShifted(t, "box", twoRanges), want)
		sameEntries(t, "back again, without maps", back.seeShifted(t, "box", nil), want)
	})
}

// TestMovingRefused has layers that cannot move. The error says why, and nothing changes.
func TestMovingRefused(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, c := range map[string]struct {
			do   func(t *testing.T, s testStore)
			is   error
			word string
		}{
			"a mounted layer": {func(t *testing.T, s testStore) {
				s.get(t, "box")
				t.Cleanup(func() { must(t, s.Put("box")) })
			}, unix.EBUSY, "layer box"},
			"kept content": {func(t *testing.T, s testStore) {
				write(t, string(s.inner.Home), files{"kept/middle/x": "x"})
			}, nil, "had content that the layer does not show"},
			"owners that were changed": {func(t *testing.T, s testStore) {
				must(t, s.UpdateLayerIDMap("middle", nil, twoRanges, ""))
			}, nil, "layer middle: the owners of its files were changed for id maps"},
			"half of the owners changed": {func(t *testing.T, s testStore) {
				must(t, owners.Write(s.inner.Home, "box", &owners.Plan{}))
			}, nil, "was cut short"},
			"a quota": {func(t *testing.T, s testStore) {
				must(t, store.LinkIn("1635057664 1000 0", s.inner.Home.Overlay("quota"), "box"))
			}, nil, "the layer has a quota"},
			"a whiteout beside its file": {func(t *testing.T, s testStore) {
				write(t, s.inner.Home.Diff("middle"), files{"file": "file", ".wh.file": ""})
			}, nil, "file stands beside its own whiteout"},
			"a form without root and no aufs form": {func(t *testing.T, s testStore) {
				device(t, filepath.Join(s.inner.Home.Diff("box"), strings.Repeat("x", 253)))
				setRecord(t, s.inner.Home, "box", "user")
			}, whiteout.ErrNoAufsForm, "xxx"},
			"a parent in another store": {func(t *testing.T, s testStore) {
				must(t, os.WriteFile(s.inner.Home.Layers("box"), []byte("elsewhere\n"), 0o600))
			}, nil, "no record of layer elsewhere"},
			"no files": {func(t *testing.T, s testStore) {
				must(t, os.RemoveAll(s.inner.Home.Diff("box")))
			}, store.ErrDamaged, "are neither in"},
		} {
			t.Run(what, func(t *testing.T) {
				s := stackToMove(t, name)
				c.do(t, s)
				home, _ := overlayHome(t)
				wants(t, newMove(t, s, home, false).Check(moved), c.is, "moving layer ", c.word)
			})
		}
	})
}

// TestMovingBackRefused has layers of the overlay driver that cannot move to this driver.
func TestMovingBackRefused(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		setXattr := func(attr string) func(t *testing.T, home string, _ graphdriver.Driver) {
			return func(t *testing.T, home string, _ graphdriver.Driver) {
				must(t, system.Lsetxattr(filepath.Join(home, "base/diff/d/kept"), attr, []byte("x"), 0))
			}
		}
		for what, c := range map[string]struct {
			do   func(t *testing.T, home string, d graphdriver.Driver)
			is   error
			word string
		}{
			"a mounted layer": {func(t *testing.T, _ string, d graphdriver.Driver) {
				_, err := d.Get("box", graphdriver.MountOpts{})
				must(t, err)
				t.Cleanup(func() { must(t, d.Put("box")) })
			}, unix.EBUSY, "layer box"},
			"content elsewhere": {setXattr("trusted.overlay.metacopy"), nil, "trusted.overlay.metacopy of "},
			"a name elsewhere":  {setXattr("trusted.overlay.redirect"), nil, "trusted.overlay.redirect of "},
			"an image of composefs": {func(t *testing.T, home string, _ graphdriver.Driver) {
				write(t, home, files{"box/composefs-data/blob": ""})
			}, nil, "cannot use a layer that has "},
		} {
			t.Run(what, func(t *testing.T) {
				home, d := stackToMove(t, name).toOverlay(t, moved)
				c.do(t, home, d)
				back := newStore(t, name)
				wants(t, newMove(t, back, home, true).Check(moved), c.is, "moving layer ", c.word)
			})
		}
	})
}

// TestMovingLooksOnly checks layers of the overlay driver. The check leaves nothing in them.
func TestMovingLooksOnly(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		home, _ := stackToMove(t, name).toOverlay(t, moved)
		attrs := func() (all []string) {
			for _, l := range moved {
				names, err := system.Llistxattr(filepath.Join(home, l.ID, "diff"))
				must(t, err)
				all = append(all, names...)
			}
			return all
		}
		before := attrs()
		m := newMove(t, newStore(t, name), home, true)
		must(t, m.Check(moved))
		if after := attrs(); !slices.Equal(before, after) {
			t.Errorf("the layers had the attributes %q, and have %q", before, after)
		}
		for what, l := range map[string]moving.Layer{"owners of its files were changed": {ID: "box", Mapped: true}, "no groups": {ID: "box", Maps: &idmap.Mappings{UIDs: twoRanges.UIDs}}} {
			wants(t, m.Check(append([]moving.Layer{l}, moved[1:]...)), nil, "moving layer box", what)
		}
		must(t, os.WriteFile(filepath.Join(home, ".has-mount-program"), []byte("true"), 0o600))
		wants(t, m.Check(moved), nil, ".has-mount-program")
	})
}

// TestMovingTemplate moves a copy of a template layer, which has the template below it.
func TestMovingTemplate(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := stackToMove(t, name)
		must(t, s.CreateFromTemplate("copy", "middle", nil, true))
		want := s.see(t, "copy", "ro")
		layers := append([]moving.Layer{{ID: "copy"}}, moved...)
		home, theirs := s.toOverlay(t, layers)
		dir, err := theirs.Get("copy", graphdriver.MountOpts{Options: []string{"ro"}})
		must(t, err)
		sameTree(t, readTree(t, dir), want)
		must(t, theirs.Put("copy"))
		back := newStore(t, name)
		back.toAufs(t, home, layers)
		sameTree(t, back.see(t, "copy", "ro"), want)
	})
}

// TestMovingPastMounts moves layers between homes of which one is another mount.
func TestMovingPastMounts(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := stackToMove(t, name)
		home, _ := overlayHome(t)
		must(t, unix.Mount("none", home, "tmpfs", 0, ""))
		defer unix.Unmount(home, unix.MNT_DETACH)
		wants(t, newMove(t, s, home, false).Unbind(), nil, home, "from one mount to another")
		if mounted, err := mountutil.IsMounted(home); err != nil || !mounted {
			t.Errorf("it is not mounted any more: %v", err)
		}
	})
}
