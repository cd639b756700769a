//go:build linux

package drivertest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// layersOf makes the directories of layers, uppermost first, in a store without a driver. It returns the cache for a backend that reads
// marks in the form to, and the ids of the layers.
func layersOf(t *testing.T, h store.Home, to whiteout.Form, layers ...files) (s *shadow.Cache, ids []string) {
	t.Helper()
	must(t, os.MkdirAll(h.Tmp(), 0o700))
	for n, content := range layers {
		id := fmt.Sprintf("layer%d", len(layers)-n)
		ids = append(ids, id)
		must(t, os.Mkdir(h.Diff(id), 0o755))
		write(t, h.Diff(id), content)
	}
	return shadow.New(store.Stores{Home: h}, conversion.New(h, ""), to, ""), ids
}

// ownLayers returns the layers ids of home.
func ownLayers(s *shadow.Cache, ids []string) []store.Layer {
	layers := make([]store.Layer, 0, len(ids))
	for _, id := range ids {
		layers = append(layers, s.Own(id))
	}
	return layers
}

// hides returns the names in the shadow below the first of layers, when layers are mounted as a stack.
func hides(s *shadow.Cache, t *testing.T, layers []string) []string {
	t.Helper()
	stack, err := s.Stack(ownLayers(s, layers), store.Layer{})
	must(t, err)
	if stack[0].Below == "" {
		return nil
	}
	return readTree(t, stack[0].Below).Names()
}

// isCached reports whether the cache knows how the first of layers is mounted.
func isCached(s *shadow.Cache, t *testing.T, layers []string) bool {
	t.Helper()
	look, err := s.LookAt(ownLayers(s, layers))
	must(t, err)
	defer look.Close()
	_, ok := look.Cached(0)
	return ok
}

// TestKnownGoesByTheStamp checks that the cache ignores a malformed link, and the link of a layer whose root directory has changed.
func TestKnownGoesByTheStamp(t *testing.T) {
	needRoot(t)
	h := storeOf(t)
	s, ids := layersOf(t, h, whiteout.OverlayTrusted, files{"d/.wh.x": "", "d/f": "", ".wh.gone": ""}, files{"plain/f": ""})
	if isCached(s, t, ids) {
		t.Error("known, before anybody has looked")
	}
	sameNames(t, hides(s, t, ids), "gone", "d", "d/x")
	for _, layers := range [][]string{ids, ids[1:]} {
		if !isCached(s, t, layers) {
			t.Errorf("%s is not known", layers[0])
		}
	}
	link := filepath.Join(s.Links(), ids[0])
	whole, err := os.Readlink(link)
	must(t, err)
	for _, odd := range []string{
		"", " ", "junk", "2" + whole[1:], whole[:len(whole)-1], whole + "x", whole + " x", strings.Replace(whole, " ", " s", 1), " " + whole,
		strings.Repeat("x", 300), whole + strings.Repeat("x", 300),
	} {
		must(t, os.Remove(link))
		if odd != "" {
			must(t, os.Symlink(odd, link))
		} else {
			must(t, os.WriteFile(link, []byte(whole), 0o600))
		}
		if isCached(s, t, ids) {
			t.Errorf("known by %q", odd)
		}
		must(t, os.Remove(link))
		must(t, os.Symlink(whole, link))
		if !isCached(s, t, ids) {
			t.Fatal("it is not known any more")
		}
	}
	// Each backend has links of its own, and so does a user without root.
	for _, to := range []whiteout.Form{whiteout.AufsForm, whiteout.OverlayUser} {
		if isCached(shadow.New(store.Stores{Home: h}, s.Forms, to, ""), t, ids) {
			t.Errorf("known in the form %s", to)
		}
	}
	// A change of the root directory changes the stamp.
	for what, change := range map[string]func(dir string) error{
		"a file of aufs": func(dir string) error { return os.WriteFile(filepath.Join(dir, ".wh..wh.orph"), nil, 0o600) },
		"a new mode":     func(dir string) error { return os.Chmod(dir, 0o700) },
		"another directory": func(dir string) error {
			return os.Rename(dir, dir+"-away")
		},
	} {
		before := h.Diff(ids[0])
		// The clock of a file system moves in steps. A change in the step of the one before leaves the same time.
		time.Sleep(20 * time.Millisecond)
		must(t, change(before))
		if _, err := os.Lstat(before); err != nil {
			must(t, os.Mkdir(before, 0o755))
		}
		if isCached(s, t, ids) {
			t.Errorf("known, after %s", what)
		}
		_, err := s.Stack(ownLayers(s, ids), store.Layer{})
		must(t, err)
		if !isCached(s, t, ids) {
			t.Errorf("not known again, after %s", what)
		}
	}
}

// TestKnownOfWrittenLayers uses layers that others may change deep inside, without a trace in their root directories. Each mount must
// look through such layers.
func TestKnownOfWrittenLayers(t *testing.T) {
	needRoot(t)
	for what, written := range map[string]func(t *testing.T, h store.Home, id string){
		"mounted by aufs, or the in-tree driver": func(t *testing.T, h store.Home, id string) {
			t.Helper()
			write(t, h.Diff(id), files{whiteout.Base: ""})
			// Some time has passed.
			must(t, store.RenewTime(h.Diff(id)))
		},
		"given out": func(t *testing.T, h store.Home, id string) { t.Helper(); must(t, h.RecordWritten(id)) },
	} {
		for _, to := range []whiteout.Form{whiteout.OverlayTrusted, whiteout.AufsForm} {
			t.Run(what+", "+string(to), func(t *testing.T) {
				h := storeOf(t)
				s, ids := layersOf(t, h, to, files{"d/.wh..wh..opq": "", "e/.wh.f": "", "e/g": ""}, files{"d/old": "", "e/f": ""})
				hides(s, t, ids)
				top, bottom := ids[0], ids[1]
				written(t, h, top)
				for _, name := range []string{"x", "y"} {
					write(t, h.Diff(top), files{"e/.wh." + name: ""})
					write(t, h.Diff(bottom), files{"e/" + name: ""})
					got, hidden := hides(s, t, ids), "e/"+name
					if to == whiteout.AufsForm {
						hidden = "e/.wh." + name
					}
					if !strings.Contains(strings.Join(got, " "), hidden) {
						t.Errorf("%s is not hidden: %q", hidden, got)
					}
					if isCached(s, t, ids) {
						t.Error("what was found out about a layer that was written to is in the cache")
					}
				}
			})
		}
	}
}

// TestKnownFollowsTheLayersBelow changes the lowest of several layers, whose files the shadow of the uppermost layer hides. The shadow must
// follow the change, whether or not the cache knew the layers.
func TestKnownFollowsTheLayersBelow(t *testing.T) {
	for what, look := range map[string]func(t *testing.T, s *shadow.Cache, ids []string){
		"looked at alone": func(t *testing.T, s *shadow.Cache, ids []string) {
			t.Helper()
			_, err := s.Find(ownLayers(s, ids), false, nil)
			must(t, err)
		},
		"mounted": func(t *testing.T, s *shadow.Cache, ids []string) {
			t.Helper()
			_, err := s.Stack(ownLayers(s, ids), store.Layer{})
			must(t, err)
		},
		"looked at by two": func(t *testing.T, s *shadow.Cache, ids []string) {
			t.Helper()
			for range 2 {
				_, err := shadow.New(s.Stores, s.Forms, s.To, "").Stack(ownLayers(s, ids), store.Layer{})
				must(t, err)
			}
		},
	} {
		for how, change := range map[string]func(t *testing.T, h store.Home, id string){
			"given out":   func(t *testing.T, h store.Home, id string) { t.Helper(); must(t, h.RecordWritten(id)) },
			"invalidated": func(t *testing.T, h store.Home, id string) { t.Helper(); must(t, h.Invalidate(id)) },
		} {
			t.Run(what+", "+how, func(t *testing.T) {
				h := storeOf(t)
				s, ids := layersOf(t, h, whiteout.AufsForm, files{"d/.wh..wh..opq": ""}, files{"other/f": ""}, files{"d/old": ""})
				sameNames(t, hides(s, t, ids), "d", "d/.wh.old")
				must(t, os.RemoveAll(s.Home.Overlay(store.KnownDir)))
				look(t, s, ids)
				// The cache entry of the layer depends on the layers below it. After Find alone, the cache does not know them, and keeps
				// nothing.
				if isCached(s, t, ids) != (what != "looked at alone") {
					t.Errorf("known: %t", what == "looked at alone")
				}
				bottom := h.Diff(ids[2])
				change(t, h, ids[2])
				write(t, bottom, files{"d/new": ""})
				sameNames(t, hides(s, t, ids), "d", "d/.wh.new", "d/.wh.old")
				change(t, h, ids[2])
				must(t, os.Remove(filepath.Join(bottom, "d/old")))
				change(t, h, ids[2])
				sameNames(t, hides(s, t, ids), "d", "d/.wh.new")
			})
		}
	}
}

// TestKnownAfterOneMount mounts many layers whose shadows depend on the layers below them. One mount must make each layer known.
func TestKnownAfterOneMount(t *testing.T) {
	h := storeOf(t)
	var layers []files
	for range 5 {
		layers = append(layers, files{"d/.wh..wh..opq": "", "d/f": "", "e/f": ""})
	}
	s, ids := layersOf(t, h, whiteout.AufsForm, append(layers, files{".wh..wh..opq": "", "d/g": ""}, files{"d/hidden": ""})...)
	must(t, unix.Mkfifo(filepath.Join(h.Diff(ids[6]), "pipe"), 0o600))
	stack, err := s.Stack(ownLayers(s, ids), store.Layer{})
	must(t, err)
	if len(stack) != 6 {
		t.Errorf("below an opaque layer there are more: %+v", stack)
	}
	for n := range ids[:6] {
		if !isCached(s, t, ids[n:]) {
			t.Errorf("%s is not known", ids[n])
		}
	}
	again, err := s.Stack(ownLayers(s, ids), store.Layer{})
	must(t, err)
	if !slices.Equal(again, stack) {
		t.Errorf("%+v,\nand before %+v", again, stack)
	}
}

// TestLayersBelowAnOpaqueOne puts a bad file into a layer below an opaque layer. It must do no harm, because that layer does not show
// through.
func TestLayersBelowAnOpaqueOne(t *testing.T) {
	needRoot(t)
	h := storeOf(t)
	s, ids := layersOf(t, h, whiteout.OverlayTrusted, files{".wh..wh..opq": "", "f": ""}, files{"g": ""})
	device(t, filepath.Join(h.Diff(ids[1]), "zero"))
	for range 2 {
		stack, err := s.Stack(ownLayers(s, ids), store.Layer{})
		must(t, err)
		if len(stack) != 1 || !stack[0].Opaque {
			t.Errorf("%+v", stack)
		}
	}
	_, err := s.Stack(ownLayers(s, ids[1:]), store.Layer{})
	wants(t, err, nil, ids[1], "zero")
}

// TestKnownOnACoarseClock uses a file system whose clock advances in steps of some milliseconds, as on most kernels. It reads a layer
// right after a change, and changes the layer again right after that.
func TestKnownOnACoarseClock(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	must(t, unix.Mount("ramfs", dir, "ramfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	h := store.Home(filepath.Join(dir, "home"))
	for _, dir := range []string{h.Layers(""), h.Diff(""), h.Mnt("")} {
		must(t, os.MkdirAll(dir, 0o700))
	}
	s, ids := layersOf(t, h, whiteout.AufsForm, files{"d/.wh..wh..opq": ""}, files{"d/": ""})
	want := []string{"d"}
	for n := range 30 {
		name := fmt.Sprintf("f%02d", n)
		want = append(want, "d/.wh."+name)
		must(t, h.Invalidate(ids[1]))
		write(t, h.Diff(ids[1]), files{"d/" + name: ""})
		must(t, h.Invalidate(ids[1]))
		got := hides(s, t, ids)
		if len(got) != len(want) {
			t.Fatalf("with %d files below, %q are hidden", n+1, got)
		}
	}
}

// TestKnownIsUsed puts a false statement about a layer into its link. Mounts must believe the link: they do not look through a layer that
// has one.
func TestKnownIsUsed(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		h := s.inner.Home
		s.create(t, "", "base", "middle", "top")
		s.apply(t, "base", "", entry{Name: "gone"}, entry{Name: "kept"})
		s.apply(t, "middle", "base", entry{Name: ".wh.gone"}, entry{Name: "own"})
		link := filepath.Join(s.inner.Shadows.Links(), "middle")
		target, err := os.Readlink(link)
		must(t, err)
		fields := strings.Fields(target)
		made, fake := h.Overlay(store.ShadowDir, "middle", fields[2]), h.Overlay(store.ShadowDir, "middle", "fake")
		for _, sub := range []string{shadow.DirAbove, shadow.DirBelow} {
			if !store.IsThere(filepath.Join(made, sub)) {
				t.Errorf("ApplyDiff has not made the shadow %s", sub)
			}
			must(t, os.MkdirAll(filepath.Join(fake, sub), 0o755))
		}
		device(t, filepath.Join(fake, shadow.DirBelow, "kept"))
		must(t, h.ReplaceLink(strings.Replace(target, fields[2], "fake", 1), link))
		for _, options := range [][]string{nil, {"ro"}} {
			sameNames(t, s.see(t, "top", options...).Names(), ".wh.gone", "gone", "own")
		}
		must(t, os.Remove(link))
		sameNames(t, s.see(t, "top").Names(), "kept", "own")
		// Other drivers on the same store use the link as well.
		other := openStore(t, string(h), backend.Overlay)
		must(t, h.ReplaceLink(strings.Replace(target, fields[2], "fake", 1), link))
		sameNames(t, other.see(t, "top").Names(), ".wh.gone", "gone", "own")
		must(t, os.RemoveAll(fake))
		sameNames(t, other.see(t, "top").Names(), "kept", "own")
	})
}

// TestKnownIsDropped checks that each operation that changes a layer drops the layer's link, and that other operations keep it. Later
// mounts on top of the layer must show the change.
func TestKnownIsDropped(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		want := []string{"d", "d/new", "kept"}
		for what, c := range map[string]struct {
			do    func(t *testing.T, s testStore)
			want  []string
			known bool
		}{
			"read-only mount": {func(t *testing.T, s testStore) { t.Helper(); s.see(t, "middle", "ro") }, want, true},
			"Diff":            {func(t *testing.T, s testStore) { t.Helper(); s.diff(t, "middle", "base") }, want, true},
			"Init":            {func(t *testing.T, s testStore) { t.Helper(); openStore(t, string(s.inner.Home), name) }, want, true},
			"mount on top":    {func(t *testing.T, s testStore) { t.Helper(); s.see(t, "top") }, want, true},
			"writable mount": {func(t *testing.T, s testStore) {
				t.Helper()
				s.change(t, "middle", func(dir string) { must(t, os.Remove(filepath.Join(dir, "kept"))) })
			}, want[:2], false},
			"ApplyDiff": {func(t *testing.T, s testStore) {
				t.Helper()
				s.apply(t, "middle", "base", entry{Name: ".wh.kept"}, entry{Name: "d/more"})
			}, []string{"d", "d/new", "d/more"}, false},
			"UpdateLayerIDMap": {func(t *testing.T, s testStore) {
				t.Helper()
				ids := idmapsOf([]idmap.Map{{ContainerID: 0, HostID: 1000, Size: 10}}, []idmap.Map{{ContainerID: 0, HostID: 1000, Size: 10}})
				must(t, s.UpdateLayerIDMap("middle", nil, ids, ""))
			}, want, false},
		} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "middle", "top", "upper")
				s.apply(t, "base", "", entry{Name: "d/old"}, entry{Name: "gone"}, entry{Name: "kept"})
				s.apply(t, "middle", "base", entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/new"}, entry{Name: ".wh.gone"})
				sameNames(t, s.see(t, "upper", "ro").Names(), want...)
				link := filepath.Join(s.inner.Shadows.Links(), "middle")
				before := inodeOf(link)
				if before == 0 {
					t.Fatal("nothing is known")
				}
				c.do(t, s)
				if after := inodeOf(link); c.known && after != before || !c.known && after != 0 {
					t.Errorf("what is known: %d, and was %d", after, before)
				}
				for range 2 {
					sameNames(t, s.see(t, "upper", "ro").Names(), c.want...)
					sameNames(t, s.see(t, "upper").Names(), c.want...)
				}
				s.oneForm(t, "middle")
			})
		}
	})
}

// TestKnownOfAReplacedLayer applies an archive to an empty layer that has a link, and later replaces the layer by an empty one of the
// same id.
func TestKnownOfAReplacedLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "top")
		s.apply(t, "base", "", entry{Name: "a"}, entry{Name: "d/x"})
		sameNames(t, s.see(t, "top", "ro").Names(), "a", "d", "d/x")
		s.apply(t, "middle", "base", entry{Name: ".wh.a"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"})
		sameNames(t, s.see(t, "top", "ro").Names(), "d")
		must(t, s.Remove("top"))
		must(t, s.Remove("middle"))
		for _, path := range s.inner.Home.Belongings("middle") {
			if store.IsThere(path) {
				t.Errorf("%s outlives its layer", path)
			}
		}
		s.create(t, "base", "middle", "top")
		sameNames(t, s.see(t, "top").Names(), "a", "d", "d/x")
	})
}

// TestInTreeWriteIsSeen makes changes deep inside a layer that has a link, as a writable mount of the in-tree driver does. Such a mount leaves
// aufs's files in the layer's root directory.
func TestInTreeWriteIsSeen(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "top")
		s.apply(t, "base", "", entry{Name: "d/x"}, entry{Name: "d/y"}, entry{Name: "e/x"})
		s.apply(t, "middle", "base", entry{Name: "d/own"}, entry{Name: "e/"}, entry{Name: "e/.wh..wh..opq"})
		sameNames(t, s.see(t, "top", "ro").Names(), "d", "d/own", "d/x", "d/y", "e")
		dir := s.inner.Home.Diff("middle")
		write(t, dir, files{whiteout.Base: "", whiteout.OrphanDir + "/": "", whiteout.PseudoLinkDir + "/": ""})
		must(t, os.Link(filepath.Join(dir, whiteout.Base), filepath.Join(dir, "d/.wh.x")))
		sameNames(t, s.see(t, "top", "ro").Names(), "d", "d/own", "d/y", "e")
		// A second change leaves no trace in the root directory.
		must(t, os.Link(filepath.Join(dir, whiteout.Base), filepath.Join(dir, "d/.wh.y")))
		must(t, os.Remove(filepath.Join(dir, "d/own")))
		sameNames(t, s.see(t, "top").Names(), "d", "e")
	})
}

// TestCacheMayBeDeleted deletes parts of the cache between mounts.
func TestCacheMayBeDeleted(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		h := s.inner.Home
		s.create(t, "", "base", "middle", "opaque", "top")
		s.apply(t, "base", "", entry{Name: "gone"}, entry{Name: "kept"}, entry{Name: "d/x"}, entry{Name: "e/x"})
		s.apply(t, "middle", "base", entry{Name: ".wh.gone"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/y"})
		s.apply(t, "opaque", "middle", entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "e/"}, entry{Name: "e/.wh..wh..opq"}, entry{Name: "e/y"})
		want := []string{"kept", "d", "e", "e/y"}
		sameNames(t, s.see(t, "top").Names(), want...)
		made := readTree(t, h.Overlay(store.ShadowDir))
		if len(made) < 4 {
			t.Errorf("the shadows are %q", made.Names())
		}
		for _, parts := range [][]string{{store.KnownDir}, {store.ShadowDir}, {store.KnownDir, store.ShadowDir}, {store.ShadowDir + "/opaque"}, {store.KnownDir + "/" + string(s.inner.Shadows.To) + "/middle"}} {
			for _, part := range parts {
				must(t, os.RemoveAll(h.Overlay(part)))
			}
			for _, options := range [][]string{{"ro"}, nil} {
				sameNames(t, s.see(t, "top", options...).Names(), want...)
			}
			if !isCached(s.inner.Shadows, t, []string{"opaque", "middle", "base"}) {
				t.Error("nothing is known again")
			}
			// A shadow is named after its content, so the mounts have made the same ones again.
			sameNames(t, readTree(t, h.Overlay(store.ShadowDir)).Names(), made.Names()...)
		}
		noLeftovers(t, s)
	})
}

// TestCacheOfLinks puts symbolic links in the place of entries of the cache. The driver must not write to their targets.
func TestCacheOfLinks(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "top")
		s.apply(t, "base", "", entry{Name: "a"}, entry{Name: "d/x"})
		s.apply(t, "middle", "base", entry{Name: ".wh.a"}, entry{Name: "b"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"})
		outside := filepath.Join(t.TempDir(), "outside")
		write(t, outside, files{"precious": "precious"})
		for _, path := range []string{filepath.Join(s.inner.Shadows.Links(), "middle"), s.inner.Home.Overlay(store.FormDir, "gone")} {
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.RemoveAll(path))
			must(t, os.Symlink(filepath.Join(outside, "precious"), path))
		}
		before := allOf(t, outside)
		sameNames(t, s.see(t, "top").Names(), "b", "d")
		sameNames(t, s.see(t, "top", "ro").Names(), "b", "d")
		sameTree(t, allOf(t, outside), before)
		must(t, s.Cleanup())
		// Opening a store fails if one of these directories is a symbolic link.
		for _, dir := range []string{store.ShadowDir, store.KnownDir, store.FormDir} {
			path := s.inner.Home.Overlay(dir)
			must(t, os.MkdirAll(path, 0o700))
			must(t, os.Rename(path, path+"-away"))
			must(t, os.Symlink(outside, path))
			_, err := reopen(string(s.inner.Home), name)
			wants(t, err, nil, path)
			must(t, os.Remove(path))
			must(t, os.Rename(path+"-away", path))
		}
		sameTree(t, allOf(t, outside), before)
		must(t, os.Remove(s.inner.Home.Overlay(store.FormDir, "gone")))
	})
}

// TestShadowsAreMadeByMany has many drivers make the same shadows at once, in a store that has none.
func TestShadowsAreMadeByMany(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		h := s.inner.Home
		s.create(t, "", "base", "middle")
		s.apply(t, "base", "", entry{Name: "gone"}, entry{Name: "d/x"}, entry{Name: "kept"})
		s.apply(t, "middle", "base", entry{Name: ".wh.gone"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/y"})
		const many = 6
		for n := range many {
			s.create(t, "middle", fmt.Sprintf("top%d", n))
		}
		for range 3 {
			must(t, os.RemoveAll(h.Overlay(store.KnownDir)))
			must(t, os.RemoveAll(h.Overlay(store.ShadowDir)))
			var wg sync.WaitGroup
			for n := range many {
				other, err := reopen(string(h), name)
				must(t, err)
				wg.Add(1)
				go func() {
					defer wg.Done()
					id := fmt.Sprintf("top%d", n)
					dir, err := other.Get(id, driver.GetOptions{Options: []string{"ro"}})
					if err != nil {
						t.Error(err)
						return
					}
					entries, err := os.ReadDir(dir)
					if err != nil || len(entries) != 2 {
						t.Errorf("%s shows %v, %v", id, entries, err)
					}
					if err := other.Put(id); err != nil {
						t.Error(err)
					}
				}()
			}
			wg.Wait()
			if made, err := os.ReadDir(h.Overlay(store.ShadowDir, "middle")); err != nil || len(made) != 1 {
				t.Errorf("the shadows are %v, %v", made, err)
			}
		}
		must(t, s.Cleanup())
		noLeftovers(t, s)
	})
}

// TestShadowIsThere makes the shadow of a layer twice, like two processes at once of which one is done first.
func TestShadowIsThere(t *testing.T) {
	needRoot(t)
	h := storeOf(t)
	s, ids := layersOf(t, h, whiteout.OverlayTrusted, files{".wh.a": ""}, files{"a": ""})
	dirs, written, err := s.Read(ownLayers(s, ids))
	if err != nil || slices.Contains(written, true) {
		t.Fatalf("%v, %v", written, err)
	}
	v, p, digest, err := s.Plan(s.Own(ids[0]), dirs, "", nil)
	must(t, err)
	look, err := s.LookAt(ownLayers(s, ids))
	must(t, err)
	defer look.Close()
	for range 2 {
		must(t, s.Make(s.Own(ids[0]), digest, p, dirs[0]))
		if !look.Place(&v, digest, true, true) || v.Above == "" || v.Below == "" {
			t.Errorf("%+v", v)
		}
	}
	sameNames(t, readTree(t, h.Tmp()).Names())
	sameNames(t, readTree(t, h.Overlay(store.ShadowDir, ids[0], digest)).Names(), "above", "above/.wh.a", "below", "below/a")
}

// TestGivenOutBaseIsForgottenAfterACrash gives a layer without parents both a form record and a link, as a crash leaves them. Get must
// drop the link.
func TestGivenOutBaseIsForgottenAfterACrash(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		s.apply(t, "base", "", entry{Name: "d/f"})
		s.see(t, "child", "ro")
		if !isCached(s.inner.Shadows, t, []string{"base"}) {
			t.Fatal("not known")
		}
		must(t, store.LinkIn(string(whiteout.AufsForm), s.inner.Home.Overlay(store.FormDir), "base"))
		s.get(t, "base")
		if isCached(s.inner.Shadows, t, []string{"base"}) {
			t.Error("known")
		}
		must(t, s.Put("base"))
	})
}

// TestInvalidateIsWholeOrNothing makes Invalidate fail. The link must still be there, for the next Invalidate.
func TestInvalidateIsWholeOrNothing(t *testing.T) {
	needRoot(t)
	h := storeOf(t)
	s, ids := layersOf(t, h, whiteout.AufsForm, files{"f": ""}, files{"g": ""})
	_, err := s.Stack(ownLayers(s, ids), store.Layer{})
	must(t, err)
	must(t, os.Rename(h.Diff(ids[1]), h.Diff("away")))
	if err := h.Invalidate(ids[1]); err == nil {
		t.Error("no error")
	}
	must(t, os.Rename(h.Diff("away"), h.Diff(ids[1])))
	link := filepath.Join(s.Links(), ids[1])
	if !store.IsThere(link) {
		t.Error("the link is gone, and the stamp is the old one")
	}
}

// TestJoinedShadowGoesByTheParents adds a whiteout by hand to a layer's parent and deletes the parent's link. Mounts of the layer must
// follow.
func TestJoinedShadowGoesByTheParents(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "parent", "child", "top")
		s.apply(t, "base", "", entry{Name: "d/x"}, entry{Name: "d/y"}, entry{Name: "gone"})
		s.apply(t, "parent", "base", entry{Name: "d/"}, entry{Name: "d/.wh.x"})
		s.apply(t, "child", "parent", entry{Name: ".wh.gone"})
		sameNames(t, s.see(t, "top", "ro").Names(), "d", "d/y")
		must(t, os.Remove(filepath.Join(s.inner.Shadows.Links(), "parent")))
		write(t, s.inner.Home.Diff("parent"), files{"d/.wh.y": ""})
		sameNames(t, s.see(t, "top", "ro").Names(), "d")
	})
}

// TestKnownOfABaseThatIsGivenOut has Get return the directory of the lowermost of several layers with whiteouts. The links of layers that
// are not directly on top of it must stay.
func TestKnownOfABaseThatIsGivenOut(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		var ids []string
		for n := range 6 {
			id, parent := fmt.Sprint("layer", n), ""
			if n > 0 {
				parent = ids[0]
			}
			s.create(t, parent, id)
			s.apply(t, id, parent, entry{Name: fmt.Sprint("f", n)}, entry{Name: fmt.Sprint(".wh.f", n-1)})
			ids = append([]string{id}, ids...)
		}
		s.get(t, "layer0")
		must(t, s.Put("layer0"))
		for n := range ids[:4] {
			if !isCached(s.inner.Shadows, t, ids[n:]) {
				t.Errorf("%s is not known", ids[n])
			}
		}
	})
}
