//go:build linux

package drivertest

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// summaryOf returns a shadow tree with the marks of each directory in one line.
func summaryOf(t shadow.Tree) map[string]string {
	lines := map[string]string{}
	for rel, dir := range t {
		var words []string
		for name := range dir.Whiteouts {
			words = append(words, name)
		}
		slices.Sort(words)
		if dir.Opaque {
			words = append(words, "OPAQUE")
		}
		lines[rel] = strings.Join(words, " ")
	}
	return lines
}

// A plannedLayer is a layer on top of others, and the shadows that it needs.
type plannedLayer struct {
	name  string
	layer files
	// form is the form of layer. The layers below are in aufs form.
	form  whiteout.Form
	below []files
	only  []string
	to    whiteout.Form
	// above and under are the shadows, as summaryOf returns them.
	above, under            map[string]string
	unread, opaque, stacked bool
}

var plannedLayers = []plannedLayer{
	{name: "no marks", layer: files{"f": "", "d/f": ""}, form: whiteout.AufsForm, to: whiteout.OverlayTrusted},
	{name: "no marks", layer: files{"f": "", "d/f": ""}, form: whiteout.AufsForm, to: whiteout.AufsForm},
	{
		name: "whiteouts", layer: files{".wh.a": "", "d/e/.wh.b": "", "d/e/.wh.c": "", "d/f": ""}, form: whiteout.AufsForm, to: whiteout.OverlayTrusted,
		above: map[string]string{".": ".wh.a", "d": "", "d/e": ".wh.b .wh.c"}, under: map[string]string{".": "a", "d": "", "d/e": "b c"},
	},
	{name: "whiteouts", layer: files{".wh.a": "", "d/e/.wh.b": ""}, form: whiteout.AufsForm, to: whiteout.AufsForm, below: []files{{"a": "", "d/e/b": ""}}},
	{
		name: "only what the archive has named", layer: files{".wh.a": "", "d/.wh.b": "", "e/.wh.c": ""}, form: whiteout.AufsForm, to: whiteout.OverlayTrusted, only: []string{"d"},
		above: map[string]string{".": "", "d": ".wh.b"}, under: map[string]string{".": "", "d": "b"},
	},
	{
		name: "opaque directories", layer: files{"d/.wh..wh..opq": "", "d/f": "", "d/e/.wh..wh..opq": ""}, form: whiteout.AufsForm, to: whiteout.OverlayTrusted,
		above: map[string]string{".": "", "d": ".wh..wh..opq", "d/e": ".wh..wh..opq"}, under: map[string]string{".": "", "d": "OPAQUE", "d/e": "OPAQUE"},
	},
	{
		name: "opaque directories", layer: files{"d/.wh..wh..opq": "", "d/f": "", "x/.wh.g": "", "x/.wh.none": ""}, form: whiteout.AufsForm, to: whiteout.AufsForm,
		below: []files{{"d/.wh.h": "", "d/g": "", "x/g": ""}, {"d/h": "", "d/f": "", "d/i/j": "", "x/k": ""}},
		under: map[string]string{".": "", "d": "f g i", "x": "g"}, unread: true, stacked: true,
	},
	{
		name: "an opaque root", layer: files{".wh..wh..opq": "", ".wh.x": "", "d/.wh..wh..opq": ""}, form: whiteout.AufsForm, to: whiteout.OverlayTrusted, below: []files{{"d/f": ""}},
		above: map[string]string{".": ".wh..wh..opq .wh.x", "d": ".wh..wh..opq"}, opaque: true,
	},
	{
		name: "an opaque root", layer: files{".wh..wh..opq": "", "d/.wh..wh..opq": ""}, form: whiteout.AufsForm, to: whiteout.AufsForm, below: []files{{"d/f": "", "g": ""}},
		opaque: true, unread: true, stacked: true,
	},
	{
		name: "files beside whiteouts", layer: files{"f": "", ".wh.f": "", "d/g": "", "d/.wh.g": "", "e/h/i": "", "e/.wh.h": ""}, form: whiteout.AufsForm, to: whiteout.OverlayTrusted,
		above: map[string]string{".": ".wh.f f", "d": ".wh.g g", "e": ".wh.h h"}, under: map[string]string{".": "f", "d": "g", "e": "h"},
	},
	{
		name: "files beside whiteouts", layer: files{"f": "", ".wh.f": "", "e/h/i": "", "e/.wh.h": ""}, form: whiteout.AufsForm, to: whiteout.AufsForm,
		below: []files{{"f": "", "e/h/k": ""}}, above: map[string]string{".": "f", "e": "h"}, under: map[string]string{".": "f", "e": "h"},
		unread: true, stacked: true,
	},
	{
		name: "aufs's own files", layer: files{whiteout.Base: "", whiteout.OrphanDir + "/f": "", whiteout.PseudoLinkDir + "/1.2": "", "d/.wh..wh.x.0001/f": "", ".wh.d/f": "", ".wh.": ""},
		form: whiteout.AufsForm, to: whiteout.OverlayTrusted,
		above: map[string]string{".": ".wh. .wh..wh.aufs .wh..wh.orph .wh..wh.plnk .wh.d", "d": ".wh..wh.x.0001"},
	},
	{name: "overlay form", layer: files{".wh.a": "", "d/.wh..wh..opq": ""}, form: whiteout.OverlayTrusted, to: whiteout.OverlayTrusted},
	{
		name: "overlay form", layer: files{".wh.a": "", ".wh.none": "", "d/.wh..wh..opq": "", "d/g": "", "e/.wh.x": "", "e/y": ""}, form: whiteout.OverlayTrusted, to: whiteout.AufsForm,
		below: []files{{"d/f": "", "d/g": "", "e/x": "", "e/y": ""}, {"a": "", "d/.wh.f": "", "d/h/i": ""}},
		above: map[string]string{".": "a none", "d": "", "e": "x"}, under: map[string]string{".": "a", "d": "f g h", "e": "x"}, unread: true, stacked: true,
	},
	{
		name: "a directory in the place of a file", layer: files{"f/g": "", ".wh.a": ""}, form: whiteout.OverlayTrusted, to: whiteout.AufsForm,
		below: []files{{"f": ""}, {"f/old": "", "a": ""}}, above: map[string]string{".": "a"}, under: map[string]string{".": "a f"}, unread: true, stacked: true,
	},
	{
		name: "a file in the place of a directory", layer: files{"d": "", ".wh.a": ""}, form: whiteout.OverlayTrusted, to: whiteout.AufsForm,
		below: []files{{"d/old": "", "a": ""}}, above: map[string]string{".": "a"}, under: map[string]string{".": "a"}, unread: true, stacked: true,
	},
	{
		name: "an opaque root", layer: files{".wh..wh..opq": "", ".wh.a": "", "d/.wh..wh..opq": "", "d/f": ""}, form: whiteout.OverlayTrusted, to: whiteout.AufsForm,
		below: []files{{"a": "", "d/g": ""}}, above: map[string]string{".": "a", "d": ""}, unread: true, opaque: true, stacked: true,
	},
	{
		name: "nothing that is below", layer: files{"d/.wh..wh..opq": "", "d/f": ""}, form: whiteout.OverlayTrusted, to: whiteout.AufsForm, below: []files{{"x": ""}},
		above: map[string]string{".": "", "d": ""}, unread: true, stacked: true,
	},
}

// build makes the layer and the layers below it.
func (p plannedLayer) build(t *testing.T) (layer whiteout.LayerDir, below []whiteout.LayerDir) {
	t.Helper()
	for n, content := range append([]files{p.layer}, p.below...) {
		dir := whiteout.LayerDir{Root: filepath.Join(t.TempDir(), fmt.Sprint("layer", n)), Form: whiteout.AufsForm}
		write(t, dir.Root, content)
		below = append(below, dir)
	}
	if layer = below[0]; p.form != whiteout.AufsForm {
		layer.Form = p.form
		if p.form == whiteout.OverlayUser && !hasUserXattrs(t) {
			t.Skip("the tests' file system has no attributes of users")
		}
		inOverlayForm(t, layer.Root, p.form)
	}
	return layer, below[1:]
}

func TestShadowPlans(t *testing.T) {
	for _, p := range plannedLayers {
		t.Run(fmt.Sprintf("%s, in form %s for %s", p.name, p.form, p.to), func(t *testing.T) {
			needRoot(t)
			layer, below := p.build(t)
			before := allOf(t, layer.Root)
			plan, err := shadow.PlanOf(layer, p.to, below, p.only)
			must(t, err)
			for what, trees := range map[string][2]map[string]string{"above": {summaryOf(plan.Above), p.above}, "below": {summaryOf(plan.Below), p.under}} {
				if fmt.Sprint(trees[0]) != fmt.Sprint(trees[1]) && len(trees[0])+len(trees[1]) > 0 {
					t.Errorf("the shadow %s is %q", what, trees[0])
				}
			}
			if plan.Unread != p.unread || plan.Opaque != p.opaque || plan.Stacked != p.stacked {
				t.Errorf("unread %t, opaque %t, stacked %t", plan.Unread, plan.Opaque, plan.Stacked)
			}
			digest, err := plan.Digest(layer, p.to)
			if err != nil || (digest == "") != (len(plan.Above)+len(plan.Below) == 0) {
				t.Errorf("the digest is %q, %v", digest, err)
			}
			dir := filepath.Join(t.TempDir(), "shadows")
			must(t, plan.Make(dir, layer, p.to))
			isShadow(t, filepath.Join(dir, shadow.DirAbove), plan.Above, p.to)
			isShadow(t, filepath.Join(dir, shadow.DirBelow), plan.Below, p.to)
			sameTree(t, allOf(t, layer.Root), before)
		})
	}
}

// isShadow fails the test unless the shadow at dir is as planned.
func isShadow(t *testing.T, dir string, planned shadow.Tree, to whiteout.Form) {
	t.Helper()
	if len(planned) == 0 {
		if store.IsThere(dir) {
			t.Errorf("%s is there", dir)
		}
		return
	}
	var want, opaque []string
	prefix := ""
	if to == whiteout.AufsForm {
		prefix = ".wh."
	}
	for rel, marks := range planned {
		if rel != "." {
			want = append(want, rel)
		}
		for name := range marks.Whiteouts {
			want = append(want, filepath.Join(rel, prefix+name))
		}
		if marks.Opaque {
			opaque = append(opaque, rel)
		}
	}
	made := readTree(t, dir)
	sameNames(t, made.Names(), want...)
	var found []string
	for path, node := range made {
		if strings.Contains(node, `overlay.opaque="y"`) {
			found = append(found, path)
		}
		if _, isDir := planned[path]; !isDir && strings.Contains(node, "device 0") != (to != whiteout.AufsForm) {
			t.Errorf("%s is %s", path, node)
		}
	}
	sameNames(t, found, opaque...)
}

// TestShadowsLookLikeTheLayer compares the directories of shadows with the layer's, because a mount shows the uppermost directory.
func TestShadowsLookLikeTheLayer(t *testing.T) {
	needRoot(t)
	for _, to := range []whiteout.Form{whiteout.OverlayTrusted, whiteout.AufsForm} {
		layer := whiteout.LayerDir{Root: filepath.Join(t.TempDir(), "layer"), Form: whiteout.AufsForm}
		write(t, layer.Root, files{"d/e/.wh.f": "", "d/e/f": "", "d/e/o/.wh..wh..opq": "", ".wh.g": ""})
		below := whiteout.LayerDir{Root: filepath.Join(t.TempDir(), "below"), Form: whiteout.AufsForm}
		write(t, below.Root, files{"d/e/f": "", "d/e/o/p": "", "g": ""})
		must(t, os.Lchown(filepath.Join(layer.Root, "d"), 3, 4))
		must(t, os.Chmod(filepath.Join(layer.Root, "d"), 0o711|fs.ModeSetgid|fs.ModeSticky))
		must(t, os.Chmod(filepath.Join(layer.Root, "d/e"), 0))
		must(t, system.Lsetxattr(filepath.Join(layer.Root, "d/e"), "trusted.test", []byte("v"), 0))
		must(t, os.Chmod(layer.Root, 0o701))
		age(t, layer.Root)
		want := withTimes(t, layer.Root)
		plan, err := shadow.PlanOf(layer, to, []whiteout.LayerDir{below}, nil)
		must(t, err)
		digest, err := plan.Digest(layer, to)
		must(t, err)
		dir := filepath.Join(t.TempDir(), "shadows")
		must(t, plan.Make(dir, layer, to))
		for _, sub := range []string{shadow.DirAbove, shadow.DirBelow} {
			for rel, got := range withTimes(t, filepath.Join(dir, sub)) {
				got = strings.Replace(got, ` trusted.overlay.opaque="y"`, "", 1)
				if strings.HasPrefix(got, "d") && got != want[rel] {
					t.Errorf("%s of the shadow %s is %s,\nand that of the layer %s", rel, sub, got, want[rel])
				}
			}
		}
		// A change of any of these gives the shadow another digest.
		for what, change := range map[string]func(path string) error{
			"a mode":       func(path string) error { return os.Chmod(path, 0o755) },
			"an owner":     func(path string) error { return os.Lchown(path, 5, 6) },
			"a time":       func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(7, 8)) },
			"an attribute": func(path string) error { return system.Lsetxattr(path, "trusted.more", []byte("w"), 0) },
		} {
			must(t, change(filepath.Join(layer.Root, "d/e")))
			other, err := plan.Digest(layer, to)
			if err != nil || other == digest {
				t.Errorf("with %s it has the digest %q, %v", what, other, err)
			}
			digest = other
		}
		if err := os.Chtimes(filepath.Join(layer.Root, "d/e"), time.Unix(9, 9), time.Unix(7, 8)); err != nil {
			t.Error(err)
		}
		if other, err := plan.Digest(layer, to); err != nil || other != digest {
			t.Errorf("with another time of access it has the digest %q, %v", other, err)
		}
	}
}

// TestNameTooLongForAufs has a layer in overlay form delete a name that is too long for a whiteout of aufs, so that no mount of aufs can
// show the deletion.
func TestNameTooLongForAufs(t *testing.T) {
	needRoot(t)
	for length, fits := range map[int]bool{251: true, 252: false, 255: false} {
		layer := whiteout.LayerDir{Root: filepath.Join(t.TempDir(), "layer"), Form: whiteout.OverlayTrusted}
		device(t, filepath.Join(layer.Root, "d", longName(length)))
		plan, err := shadow.PlanOf(layer, whiteout.AufsForm, nil, nil)
		must(t, err)
		if err := plan.TooLong(whiteout.AufsForm); (err == nil) != fits || err != nil && !strings.Contains(err.Error(), filepath.Join("d", longName(length))) {
			t.Errorf("%d bytes: %v", length, err)
		}
		must(t, plan.TooLong(whiteout.OverlayTrusted))
	}
}

// TestShadowsAreJoined checks the shadow below a layer: it also has the marks of the shadow above the layer's parent, and takes its place.
func TestShadowsAreJoined(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name          string
		layer, parent files
		under         map[string]string
	}{
		{
			"in other directories",
			files{".wh.a": ""},
			files{"d/e/.wh.y": "", "f": ""},
			map[string]string{".": "a", "d": "", "d/e": ".wh.y"},
		},
		{
			"in the same directory",
			files{"d/.wh.x": "", "d/n": ""},
			files{"d/.wh.y": "", ".wh.z": ""},
			map[string]string{".": ".wh.z", "d": ".wh.y x"},
		},
		{"in a deleted directory", files{".wh.d": ""}, files{"d/e/.wh.y": ""}, map[string]string{".": "d"}},
		{
			"in an opaque directory",
			files{"d/.wh..wh..opq": "", "d/e/f": ""},
			files{"d/.wh.y": "", "d/e/.wh.z": "", ".wh.a": ""},
			map[string]string{".": ".wh.a", "d": "OPAQUE"},
		},
		{
			"in a directory beside its whiteout",
			files{"d/.wh.x": ""},
			files{"d/f": "", ".wh.d": ""},
			map[string]string{".": ".wh.d", "d": "x OPAQUE"},
		},
		{"of an opaque parent", files{"d/.wh.x": ""}, files{".wh..wh..opq": ""}, map[string]string{".": ".wh..wh..opq", "d": "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := storeOf(t)
			s, ids := layersOf(t, h, whiteout.OverlayTrusted, c.layer, c.parent, files{"d/e/old": ""})
			for n, dir := range []string{"d", "d/e"} {
				if path := filepath.Join(h.Diff(ids[1]), dir); store.IsThere(path) {
					must(t, os.Chmod(path, 0o700+fs.FileMode(n)))
				}
			}
			stack, err := s.Stack(ownLayers(s, ids), store.Layer{})
			must(t, err)
			if !stack[0].Joined || stack[1].Joined || stack[1].Above == "" {
				t.Fatalf("%+v", stack)
			}
			under := shadow.Tree{}
			must(t, filepath.WalkDir(stack[0].Below, func(path string, entry fs.DirEntry, err error) error {
				must(t, err)
				rel, err := filepath.Rel(stack[0].Below, path)
				must(t, err)
				if !entry.IsDir() {
					under.Dir(filepath.Dir(rel)).Whiteouts[entry.Name()] = true
					return nil
				}
				under.Dir(rel).Opaque, err = whiteout.HasOpaqueXattr(path, s.To)
				of := h.Diff(ids[0])
				if !store.IsThere(filepath.Join(of, rel)) {
					of = h.Diff(ids[1])
				}
				got, _ := strings.CutSuffix(readTree(t, path)["."], ` trusted.overlay.opaque="y"`)
				if want := readTree(t, filepath.Join(of, rel))["."]; got != want {
					t.Errorf("%s is %s, and is to be %s", rel, got, want)
				}
				return err
			}))
			if got := summaryOf(under); !maps.Equal(got, c.under) {
				t.Errorf("below is %q", got)
			}
			if lowers := backend.LowersOf(stack); slices.Contains(lowers, stack[1].Above) || !slices.Contains(lowers, stack[0].Above) {
				t.Errorf("they are mounted as %q", lowers)
			}
			// From now on, another shadow is above the parent.
			must(t, h.Invalidate(ids[1]))
			write(t, h.Diff(ids[1]), files{"more/.wh.n": ""})
			stack, err = s.Stack(ownLayers(s, ids), store.Layer{})
			must(t, err)
			if shows := store.IsThere(filepath.Join(stack[0].Below, "more/.wh.n")); !shows {
				t.Error("what the parent has since is not hidden")
			}
		})
	}
}
