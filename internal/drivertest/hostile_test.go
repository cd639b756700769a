//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// These archives are made to do harm.

// victim is a store with something beside it that no layer may touch.
type victim struct {
	testStore
	outside string // a directory beside the store, with the file secret in it
}

func newVictim(t *testing.T, name backend.Name) victim {
	t.Helper()
	root := t.TempDir()
	v := victim{testStore: openStore(t, filepath.Join(root, "home"), name), outside: filepath.Join(root, "outside")}
	write(t, v.outside, files{"secret": "secret", "d/": ""})
	v.create(t, "", "base", "child")
	v.apply(t, "base", "", entry{Name: "f", Content: "f"}, entry{Name: "d/"}, entry{Name: "d/f", Content: "df"})
	// The first use makes files of its own.
	v.see(t, "child")
	return v
}

// around returns all that is beside and in the store, except the files of the layer child, what is kept of its archive, and what exists to
// mount it.
func (v victim) around(t *testing.T) tree {
	t.Helper()
	all := readTree(t, filepath.Dir(v.outside))
	for path := range all {
		for _, own := range []string{"home/diff/child", "home/overlay", "home/kept", "home/whiteouts", "home/mnt", "home-run"} {
			if path == own || strings.HasPrefix(path, own+"/") {
				delete(all, path)
			}
		}
	}
	return all
}

// secretNames returns names that lead from inside a layer to a file outside.
func (v victim) secretNames() []string {
	up := strings.Repeat("../", 30)
	return []string{filepath.Join(v.outside, "secret"), up + v.outside[1:] + "/secret"}
}

// hostile has functions that make an archive for a victim.
var hostile = map[string]func(v victim) []member{
	"absolute": func(v victim) []member {
		return []member{{Name: filepath.Join(v.outside, "made"), Size: 1, Typeflag: tar.TypeReg}}
	},
	"upwards": func(victim) []member {
		return []member{{Name: "../../../outside/made", Size: 1, Typeflag: tar.TypeReg}}
	},
	"upwards inside": func(victim) []member {
		return []member{{Name: "d/../../../../outside/made", Size: 1, Typeflag: tar.TypeReg}}
	},
	"through a symlink": func(v victim) []member {
		return []member{
			{Name: "out", Linkname: v.outside, Typeflag: tar.TypeSymlink},
			{Name: "out/made", Size: 1, Typeflag: tar.TypeReg},
			{Name: "out/secret", Size: 1, Typeflag: tar.TypeReg},
			{Name: "out/.wh.secret", Typeflag: tar.TypeReg},
			{Name: "out/.wh..wh..opq", Typeflag: tar.TypeReg},
		}
	},
	"through a relative symlink": func(v victim) []member {
		return []member{
			{Name: "out", Linkname: filepath.Dir(v.secretNames()[1]), Typeflag: tar.TypeSymlink},
			{Name: "out/made/", Typeflag: tar.TypeDir},
			{Name: "out/secret", Size: 1, Typeflag: tar.TypeReg},
		}
	},
	"a directory that becomes a symlink": func(v victim) []member {
		return []member{
			{Name: "sub/", Typeflag: tar.TypeDir},
			{Name: "sub", Linkname: v.outside, Typeflag: tar.TypeSymlink},
			{Name: "sub/made", Size: 1, Typeflag: tar.TypeReg},
			{Name: "sub/secret", Size: 1, Typeflag: tar.TypeReg},
		}
	},
	"hard links": func(v victim) []member {
		var all []member
		for i, name := range v.secretNames() {
			all = append(all, member{Name: fmt.Sprintf("link%d", i), Linkname: name, Typeflag: tar.TypeLink})
		}
		return all
	},
	"a hard link through a symlink": func(v victim) []member {
		return []member{
			{Name: "out", Linkname: v.outside, Typeflag: tar.TypeSymlink},
			{Name: "link", Linkname: "out/secret", Typeflag: tar.TypeLink},
			{Name: "link", Size: 1, Typeflag: tar.TypeReg},
		}
	},
	"a symlink that is written to": func(v victim) []member {
		return []member{
			{Name: "out", Linkname: v.secretNames()[0], Typeflag: tar.TypeSymlink},
			{Name: "out", Size: 1, Typeflag: tar.TypeReg},
			{Name: "out2", Linkname: v.secretNames()[1], Typeflag: tar.TypeSymlink},
			{Name: "again", Linkname: "out2", Typeflag: tar.TypeLink},
			{Name: "again", Size: 1, Typeflag: tar.TypeReg},
		}
	},
	"the root": func(victim) []member {
		return []member{
			{Name: ".wh..", Typeflag: tar.TypeReg},
			{Name: ".wh...", Typeflag: tar.TypeReg},
			{Name: ".wh.", Typeflag: tar.TypeReg},
			{Name: "d/.wh...", Typeflag: tar.TypeReg},
			{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
			{Name: "../", Typeflag: tar.TypeDir, Mode: 0o777},
			{Name: "/.wh./", Typeflag: tar.TypeDir},
		}
	},
	"whiteouts with slashes": func(victim) []member {
		return []member{
			{Name: ".wh../../../outside/secret", Typeflag: tar.TypeReg},
			{Name: ".wh.d/f", Typeflag: tar.TypeReg},
			{Name: "d/.wh.../../../../outside/secret", Typeflag: tar.TypeReg},
		}
	},
	"aufs's own files": func(victim) []member {
		return []member{
			{Name: ".wh..wh.aufs", Typeflag: tar.TypeReg},
			{Name: ".wh..wh.orph/", Typeflag: tar.TypeDir},
			{Name: ".wh..wh.plnk/", Typeflag: tar.TypeDir},
			{Name: ".wh..wh.plnk/11.22", Size: 1, Typeflag: tar.TypeReg},
			{Name: "d/.wh..wh.plnk/", Typeflag: tar.TypeDir},
		}
	},
	"whiteouts of other kinds": func(v victim) []member {
		return []member{
			{Name: ".wh.f", Linkname: v.outside, Typeflag: tar.TypeSymlink},
			{Name: "d/", Typeflag: tar.TypeDir},
			{Name: "d/.wh.f/", Typeflag: tar.TypeDir},
			{Name: "d/.wh.f/g", Size: 1, Typeflag: tar.TypeReg},
			{Name: "e/", Typeflag: tar.TypeDir},
			{Name: "e/.wh..wh..opq", Linkname: v.outside, Typeflag: tar.TypeSymlink},
		}
	},
	"device nodes": func(victim) []member {
		return []member{
			{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
			{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 259, Devminor: 1},
			{Name: "fifo", Typeflag: tar.TypeFifo},
		}
	},
	"overlayfs's marks": func(victim) []member {
		marks := map[string]string{}
		for _, prefix := range []string{"trusted.overlay.", "user.overlay."} {
			for name, value := range map[string]string{"opaque": "y", "redirect": "/d", "metacopy": "", "origin": "x", "whiteout": "y"} {
				marks[layertar.PaxXattr+prefix+name] = value
			}
		}
		return []member{
			{Name: "d/", Typeflag: tar.TypeDir, PAXRecords: marks},
			{Name: "d/f", Size: 1, Typeflag: tar.TypeReg, PAXRecords: marks},
			{Name: "d/link", Linkname: "f", Typeflag: tar.TypeSymlink},
		}
	},
	"twice and otherwise": func(victim) []member {
		return []member{
			{Name: "a", Size: 1, Typeflag: tar.TypeReg},
			{Name: "a/", Typeflag: tar.TypeDir},
			{Name: "a", Size: 2, Typeflag: tar.TypeReg},
			{Name: "b/", Typeflag: tar.TypeDir},
			{Name: "b/c", Size: 1, Typeflag: tar.TypeReg},
			{Name: "b", Size: 1, Typeflag: tar.TypeReg},
			{Name: ".wh.f", Typeflag: tar.TypeReg},
			{Name: "f", Size: 1, Typeflag: tar.TypeReg},
			{Name: ".wh.f", Typeflag: tar.TypeReg},
			{Name: "self", Linkname: "self", Typeflag: tar.TypeLink},
		}
	},
	"names of 256 bytes": func(victim) []member {
		return []member{{Name: "ok", Size: 1, Typeflag: tar.TypeReg}, {Name: strings.Repeat("n", 256), Size: 1, Typeflag: tar.TypeReg}}
	},
}

// TestHostileArchives applies archives to a layer. Whether this succeeds or not, nothing outside of the layer is made, changed or removed.
// After an error the layer is empty. In both cases the layer can be mounted and removed.
func TestHostileArchives(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, members := range hostile {
			t.Run(what, func(t *testing.T) {
				v := newVictim(t, name)
				v.tryArchive(t, packed(t, members(v)...))
			})
		}
	})
}

// tryArchive applies one archive, and reports whether that succeeded.
func (v victim) tryArchive(t *testing.T, content []byte) (applied bool) {
	t.Helper()
	before := v.around(t)
	_, err := v.ApplyDiff("child", "base", driver.ApplyOptions{Diff: bytes.NewReader(content)})
	applied = err == nil
	diff := v.inner.Home.Diff("child")
	if err != nil {
		wants(t, err, nil, "child")
		// Aufs has left its own files there.
		names := slices.DeleteFunc(readTree(t, diff).Names(), func(name string) bool { return whiteout.IsOwnFile(strings.Split(name, "/")[0]) })
		if len(names) > 0 {
			t.Errorf("after %v the layer has %q", err, names)
		}
	}
	sameTree(t, v.around(t), before)
	for path, node := range readTree(t, diff) {
		if err != nil && whiteout.IsOwnFile(strings.Split(path, "/")[0]) {
			continue
		}
		if strings.Contains(node, "overlay.") {
			t.Errorf("%s is %s", path, node)
		}
		base := filepath.Base(path)
		if strings.HasPrefix(base, whiteoutMetaPrefix) && base != whiteout.OpaqueMark || base == ".wh.." || base == ".wh..." || base == ".wh." {
			t.Errorf("%s is in the layer", path)
		}
		if strings.HasPrefix(base, whiteout.Prefix) && !strings.HasPrefix(node, "-") {
			t.Errorf("%s is no regular file: %s", path, node)
		}
	}
	if problems, err := maintenance.Check(t.Context(), string(v.inner.Home)); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	r, err := v.Diff("child", nil, "base", nil)
	must(t, err)
	must(t, drain(r))
	_, err = v.Changes("child", nil, "base", nil)
	must(t, err)
	dir, err := v.Get("child", driver.GetOptions{})
	must(t, err)
	readTree(t, dir)
	must(t, v.Put("child"))
	sameTree(t, v.around(t), before)
	must(t, v.Remove("child"))
	sameTree(t, v.around(t), without(before, "home/layers/child"))
	v.create(t, "base", "child")
	return applied
}

func without(tr tree, path string) tree {
	rest := tree{}
	for p, node := range tr {
		if p != path {
			rest[p] = node
		}
	}
	return rest
}

// TestBrokenArchives applies archives that are cut short or have flipped bits.
func TestBrokenArchives(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		v := newVictim(t, name)
		whole := packed(t,
			member{Name: "d/", Typeflag: tar.TypeDir}, member{Name: "d/.wh.f", Typeflag: tar.TypeReg}, member{Name: "g", Size: 700, Typeflag: tar.TypeReg},
			member{Name: "link", Linkname: "g", Typeflag: tar.TypeLink}, member{Name: "sym", Linkname: "../../g", Typeflag: tar.TypeSymlink})
		// An archive that ends between two members looks like an archive without an end mark, and some archives have none.
		for _, n := range []int{1, 511, 513, 1100, 1700, 2000, 2047, 2600} {
			if v.tryArchive(t, whole[:n]) {
				t.Errorf("the first %d bytes of an archive are taken for one", n)
			}
		}
		if v.tryArchive(t, []byte("this is not a tar archive")) {
			t.Error("a text is taken for an archive")
		}
		v.tryArchive(t, nil)
		for range 20 {
			flipped := bytes.Clone(whole)
			for range 1 + rand.IntN(3) {
				flipped[rand.IntN(len(flipped))] ^= 1 << rand.IntN(8)
			}
			v.tryArchive(t, flipped)
			if t.Failed() {
				t.Fatalf("the archive is %q", flipped)
			}
		}
	})
}

// TestOverlayWhiteoutsInAnArchive applies an archive with a character device 0/0. To aufs it is a file like any other. Overlayfs would take
// it for a whiteout, so the overlay backend refuses to mount the layer.
func TestOverlayWhiteoutsInAnArchive(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child", "top")
		s.apply(t, "base", "", entry{Name: "f", Content: "f"})
		_, err := s.ApplyDiff("child", "base", driver.ApplyOptions{
			Diff: bytes.NewReader(packed(t, member{Name: "f", Typeflag: tar.TypeChar})),
		})
		must(t, err)
		for _, id := range []string{"child", "top"} {
			dir, err := s.Get(id, driver.GetOptions{})
			if name == backend.Overlay {
				wants(t, err, nil, id, "character device 0/0")
				continue
			}
			must(t, err)
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(dir, "f"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
				t.Errorf("f is %o, %v", st.Mode, err)
			}
			must(t, s.Put(id))
		}
	})
}

// TestOverlayAttributesOnContent applies an archive with attributes of overlayfs to layers that have content.
func TestOverlayAttributesOnContent(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		s.apply(t, "base", "", entry{Name: "f", Content: "f"})
		s.apply(t, "child", "base", entry{Name: "g", Content: "g"})
		for id, parent := range map[string]string{"base": "", "child": "base"} {
			content := packed(t,
				member{Name: "d/", Typeflag: tar.TypeDir, PAXRecords: map[string]string{
					layertar.PaxXattr + "trusted.overlay.opaque": "y", layertar.PaxXattr + "trusted.overlay.redirect": "/etc",
				}},
				member{Name: "e", Typeflag: tar.TypeReg, PAXRecords: map[string]string{
					layertar.PaxXattr + "trusted.overlay.metacopy": "", layertar.PaxXattr + "user.kept": "x",
				}})
			// Overlayfs may refuse the attributes, which is all right.
			_, err := s.ApplyDiff(id, parent, driver.ApplyOptions{Diff: bytes.NewReader(content)})
			if err != nil && (name == backend.Aufs || id == "base") {
				t.Error(err)
			}
			for _, file := range []string{"d", "e"} {
				names, err := system.Llistxattr(filepath.Join(s.inner.Home.Diff(id), file))
				if fsutil.IgnoreGone(err) != nil {
					t.Error(err)
				}
				f, err := s.inner.Home.Form(id)
				must(t, err)
				// Overlayfs sets such attributes under other names, which mean nothing to it. In its own layer it has some attributes that
				// say where a file is from.
				own := []string{"trusted.overlay.origin", "trusted.overlay.impure"}
				if slices.ContainsFunc(names, func(name string) bool {
					return strings.HasPrefix(name, "trusted.overlay.") && !strings.HasPrefix(name, "trusted.overlay.overlay.") &&
						(f == whiteout.AufsForm || !slices.Contains(own, name))
				}) {
					t.Errorf("%s of %s has %q", file, id, names)
				}
			}
		}
		if value, err := system.Lgetxattr(filepath.Join(s.inner.Home.Diff("base"), "e"), "user.kept"); hasUserXattrs(t) && string(value) != "x" {
			t.Errorf("an attribute that may be there is %q, %v", value, err)
		}
	})
}

// TestWhiteoutWithContent applies whiteouts that differ from those that aufs makes.
func TestWhiteoutWithContent(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "top")
		s.apply(t, "base", "", entry{Name: "a", Content: "a"}, entry{Name: "b", Content: "b"}, entry{Name: "d/"}, entry{Name: "d/old", Content: "o"})
		s.apply(t, "middle", "base", entry{Name: "c", Content: "c"}, entry{Name: ".wh.a", Content: "x"}, entry{Name: ".wh.b", Link: "c"},
			entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq", Content: "x"})
		for _, id := range []string{"middle", "top"} {
			sameNames(t, s.see(t, id).Names(), "c", "d")
		}
		sameNames(t, keysOf(s.diff(t, "middle", "base")), ".wh.a", ".wh.b", "c", "d/", "d/.wh..wh..opq")
	})
}
