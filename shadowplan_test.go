//go:build linux

package aufs

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
)

// summary is a shadow tree, with the marks of each directory in one line.
func (t shadowTree) summary() map[string]string {
	lines := map[string]string{}
	for rel, dir := range t {
		var words []string
		for name := range dir.whiteouts {
			words = append(words, name)
		}
		slices.Sort(words)
		if dir.opaque {
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
	// form is that of the layer, which is aufs form but for the one to be tested.
	form  form
	below []files
	only  []string
	to    form
	// above and under are the shadows, as summary has them.
	above, under            map[string]string
	unread, opaque, stacked bool
}

var plannedLayers = []plannedLayer{
	{name: "no marks", layer: files{"f": "", "d/f": ""}, form: aufsForm, to: overlayTrusted},
	{name: "no marks", layer: files{"f": "", "d/f": ""}, form: aufsForm, to: aufsForm},
	{
		name: "whiteouts", layer: files{".wh.a": "", "d/e/.wh.b": "", "d/e/.wh.c": "", "d/f": ""}, form: aufsForm, to: overlayTrusted,
		above: map[string]string{".": ".wh.a", "d": "", "d/e": ".wh.b .wh.c"}, under: map[string]string{".": "a", "d": "", "d/e": "b c"},
	},
	{name: "whiteouts", layer: files{".wh.a": "", "d/e/.wh.b": ""}, form: aufsForm, to: aufsForm, below: []files{{"a": "", "d/e/b": ""}}},
	{
		name: "only what the archive has named", layer: files{".wh.a": "", "d/.wh.b": "", "e/.wh.c": ""}, form: aufsForm, to: overlayTrusted, only: []string{"d"},
		above: map[string]string{".": "", "d": ".wh.b"}, under: map[string]string{".": "", "d": "b"},
	},
	{
		name: "opaque directories", layer: files{"d/.wh..wh..opq": "", "d/f": "", "d/e/.wh..wh..opq": ""}, form: aufsForm, to: overlayTrusted,
		above: map[string]string{".": "", "d": ".wh..wh..opq", "d/e": ".wh..wh..opq"}, under: map[string]string{".": "", "d": "OPAQUE", "d/e": "OPAQUE"},
	},
	{
		name: "opaque directories", layer: files{"d/.wh..wh..opq": "", "d/f": "", "x/.wh.g": "", "x/.wh.none": ""}, form: aufsForm, to: aufsForm,
		below: []files{{"d/.wh.h": "", "d/g": "", "x/g": ""}, {"d/h": "", "d/f": "", "d/i/j": "", "x/k": ""}},
		under: map[string]string{".": "", "d": "f g i", "x": "g"}, unread: true, stacked: true,
	},
	{
		name: "an opaque root", layer: files{".wh..wh..opq": "", ".wh.x": "", "d/.wh..wh..opq": ""}, form: aufsForm, to: overlayTrusted, below: []files{{"d/f": ""}},
		above: map[string]string{".": ".wh..wh..opq .wh.x", "d": ".wh..wh..opq"}, opaque: true,
	},
	{
		name: "an opaque root", layer: files{".wh..wh..opq": "", "d/.wh..wh..opq": ""}, form: aufsForm, to: aufsForm, below: []files{{"d/f": "", "g": ""}},
		opaque: true, unread: true, stacked: true,
	},
	{
		name: "files beside whiteouts", layer: files{"f": "", ".wh.f": "", "d/g": "", "d/.wh.g": "", "e/h/i": "", "e/.wh.h": ""}, form: aufsForm, to: overlayTrusted,
		above: map[string]string{".": ".wh.f f", "d": ".wh.g g", "e": ".wh.h h"}, under: map[string]string{".": "f", "d": "g", "e": "h"},
	},
	{
		name: "files beside whiteouts", layer: files{"f": "", ".wh.f": "", "e/h/i": "", "e/.wh.h": ""}, form: aufsForm, to: aufsForm,
		below: []files{{"f": "", "e/h/k": ""}}, above: map[string]string{".": "f", "e": "h"}, under: map[string]string{".": "f", "e": "h"},
		unread: true, stacked: true,
	},
	{
		name: "aufs's own files", layer: files{whiteoutBase: "", orphanDir + "/f": "", pseudoLinkDir + "/1.2": "", "d/.wh..wh.x.0001/f": "", ".wh.d/f": "", ".wh.": ""},
		form: aufsForm, to: overlayTrusted,
		above: map[string]string{".": ".wh. .wh..wh.aufs .wh..wh.orph .wh..wh.plnk .wh.d", "d": ".wh..wh.x.0001"},
	},
	{name: "overlay form", layer: files{".wh.a": "", "d/.wh..wh..opq": ""}, form: overlayTrusted, to: overlayTrusted},
	{
		name: "overlay form", layer: files{".wh.a": "", ".wh.none": "", "d/.wh..wh..opq": "", "d/g": "", "e/.wh.x": "", "e/y": ""}, form: overlayTrusted, to: aufsForm,
		below: []files{{"d/f": "", "d/g": "", "e/x": "", "e/y": ""}, {"a": "", "d/.wh.f": "", "d/h/i": ""}},
		above: map[string]string{".": "a none", "d": "", "e": "x"}, under: map[string]string{".": "a", "d": "f g h", "e": "x"}, unread: true, stacked: true,
	},
	{
		name: "a directory in the place of a file", layer: files{"f/g": "", ".wh.a": ""}, form: overlayTrusted, to: aufsForm,
		below: []files{{"f": ""}, {"f/old": "", "a": ""}}, above: map[string]string{".": "a"}, under: map[string]string{".": "a f"}, unread: true, stacked: true,
	},
	{
		name: "a file in the place of a directory", layer: files{"d": "", ".wh.a": ""}, form: overlayTrusted, to: aufsForm,
		below: []files{{"d/old": "", "a": ""}}, above: map[string]string{".": "a"}, under: map[string]string{".": "a"}, unread: true, stacked: true,
	},
	{
		name: "an opaque root", layer: files{".wh..wh..opq": "", ".wh.a": "", "d/.wh..wh..opq": "", "d/f": ""}, form: overlayTrusted, to: aufsForm,
		below: []files{{"a": "", "d/g": ""}}, above: map[string]string{".": "a", "d": ""}, unread: true, opaque: true, stacked: true,
	},
	{
		name: "nothing that is below", layer: files{"d/.wh..wh..opq": "", "d/f": ""}, form: overlayTrusted, to: aufsForm, below: []files{{"x": ""}},
		above: map[string]string{".": "", "d": ""}, unread: true, stacked: true,
	},
}

// build makes the layer, and those below it.
func (p plannedLayer) build(t *testing.T) (layer layerDir, below []layerDir) {
	t.Helper()
	for n, content := range append([]files{p.layer}, p.below...) {
		dir := layerDir{root: filepath.Join(t.TempDir(), fmt.Sprint("layer", n)), form: aufsForm}
		write(t, dir.root, content)
		below = append(below, dir)
	}
	if layer = below[0]; p.form != aufsForm {
		layer.form = p.form
		if p.form == overlayUser && !hasUserXattrs(t) {
			t.Skip("the tests' file system has no attributes of users")
		}
		inOverlayForm(t, layer.root, p.form)
	}
	return layer, below[1:]
}

func TestShadowPlans(t *testing.T) {
	for _, p := range plannedLayers {
		t.Run(fmt.Sprintf("%s, in form %s for %s", p.name, p.form, p.to), func(t *testing.T) {
			needRoot(t)
			layer, below := p.build(t)
			before := allOf(t, layer.root)
			plan, err := planShadows(layer, p.to, below, p.only)
			must(t, err)
			for what, trees := range map[string][2]map[string]string{"above": {plan.above.summary(), p.above}, "below": {plan.below.summary(), p.under}} {
				if fmt.Sprint(trees[0]) != fmt.Sprint(trees[1]) && len(trees[0])+len(trees[1]) > 0 {
					t.Errorf("the shadow %s is %q", what, trees[0])
				}
			}
			if plan.unread != p.unread || plan.opaque != p.opaque || plan.stacked != p.stacked {
				t.Errorf("unread %t, opaque %t, stacked %t", plan.unread, plan.opaque, plan.stacked)
			}
			digest, err := plan.digest(layer, p.to)
			if err != nil || (digest == "") != (len(plan.above)+len(plan.below) == 0) {
				t.Errorf("the digest is %q, %v", digest, err)
			}
			dir := filepath.Join(t.TempDir(), "shadows")
			must(t, plan.make(dir, layer, p.to))
			isShadow(t, filepath.Join(dir, shadowAbove), plan.above, p.to)
			isShadow(t, filepath.Join(dir, shadowBelow), plan.below, p.to)
			sameTree(t, allOf(t, layer.root), before)
		})
	}
}

// isShadow fails the test unless the shadow at dir is what was planned.
func isShadow(t *testing.T, dir string, planned shadowTree, to form) {
	t.Helper()
	if len(planned) == 0 {
		if isThere(dir) {
			t.Errorf("%s is there", dir)
		}
		return
	}
	var want, opaque []string
	prefix := ""
	if to == aufsForm {
		prefix = ".wh."
	}
	for rel, marks := range planned {
		if rel != "." {
			want = append(want, rel)
		}
		for name := range marks.whiteouts {
			want = append(want, filepath.Join(rel, prefix+name))
		}
		if marks.opaque {
			opaque = append(opaque, rel)
		}
	}
	made := readTree(t, dir)
	sameNames(t, made.names(), want...)
	var found []string
	for path, node := range made {
		if strings.Contains(node, `overlay.opaque="y"`) {
			found = append(found, path)
		}
		if _, isDir := planned[path]; !isDir && strings.Contains(node, "device 0") != (to != aufsForm) {
			t.Errorf("%s is %s", path, node)
		}
	}
	sameNames(t, found, opaque...)
}

// TestShadowsLookLikeTheLayer compares the directories of shadows with those of the layer: a mount shows the uppermost.
func TestShadowsLookLikeTheLayer(t *testing.T) {
	needRoot(t)
	for _, to := range []form{overlayTrusted, aufsForm} {
		layer := layerDir{root: filepath.Join(t.TempDir(), "layer"), form: aufsForm}
		write(t, layer.root, files{"d/e/.wh.f": "", "d/e/f": "", "d/e/o/.wh..wh..opq": "", ".wh.g": ""})
		below := layerDir{root: filepath.Join(t.TempDir(), "below"), form: aufsForm}
		write(t, below.root, files{"d/e/f": "", "d/e/o/p": "", "g": ""})
		must(t, os.Lchown(filepath.Join(layer.root, "d"), 3, 4))
		must(t, os.Chmod(filepath.Join(layer.root, "d"), 0o711|fs.ModeSetgid|fs.ModeSticky))
		must(t, os.Chmod(filepath.Join(layer.root, "d/e"), 0))
		must(t, system.Lsetxattr(filepath.Join(layer.root, "d/e"), "trusted.test", []byte("v"), 0))
		must(t, os.Chmod(layer.root, 0o701))
		age(t, layer.root)
		want := withTimes(t, layer.root)
		plan, err := planShadows(layer, to, []layerDir{below}, nil)
		must(t, err)
		digest, err := plan.digest(layer, to)
		must(t, err)
		dir := filepath.Join(t.TempDir(), "shadows")
		must(t, plan.make(dir, layer, to))
		for _, sub := range []string{shadowAbove, shadowBelow} {
			for rel, got := range withTimes(t, filepath.Join(dir, sub)) {
				got = strings.Replace(got, ` trusted.overlay.opaque="y"`, "", 1)
				if strings.HasPrefix(got, "d") && got != want[rel] {
					t.Errorf("%s of the shadow %s is %s,\nand that of the layer %s", rel, sub, got, want[rel])
				}
			}
		}
		// Whatever of that changes makes it another shadow.
		for what, change := range map[string]func(path string) error{
			"a mode":       func(path string) error { return os.Chmod(path, 0o755) },
			"an owner":     func(path string) error { return os.Lchown(path, 5, 6) },
			"a time":       func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(7, 8)) },
			"an attribute": func(path string) error { return system.Lsetxattr(path, "trusted.more", []byte("w"), 0) },
		} {
			must(t, change(filepath.Join(layer.root, "d/e")))
			other, err := plan.digest(layer, to)
			if err != nil || other == digest {
				t.Errorf("with %s it has the digest %q, %v", what, other, err)
			}
			digest = other
		}
		if err := os.Chtimes(filepath.Join(layer.root, "d/e"), time.Unix(9, 9), time.Unix(7, 8)); err != nil {
			t.Error(err)
		}
		if other, err := plan.digest(layer, to); err != nil || other != digest {
			t.Errorf("with another time of access it has the digest %q, %v", other, err)
		}
	}
}

// TestNameTooLongForAufs has a layer in overlay form delete a name that no whiteout of aufs can have: no mount of aufs shows it.
func TestNameTooLongForAufs(t *testing.T) {
	needRoot(t)
	for length, fits := range map[int]bool{251: true, 252: false, 255: false} {
		layer := layerDir{root: filepath.Join(t.TempDir(), "layer"), form: overlayTrusted}
		device(t, filepath.Join(layer.root, "d", longName(length)))
		plan, err := planShadows(layer, aufsForm, nil, nil)
		must(t, err)
		if err := plan.tooLong(aufsForm); (err == nil) != fits || err != nil && !strings.Contains(err.Error(), filepath.Join("d", longName(length))) {
			t.Errorf("%d bytes: %v", length, err)
		}
		must(t, plan.tooLong(overlayTrusted))
	}
}

// TestShadowsAreJoined is about what is below a layer, and has all that is above its parent.
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
			s, ids := layersOf(t, h, overlayTrusted, c.layer, c.parent, files{"d/e/old": ""})
			for n, dir := range []string{"d", "d/e"} {
				if path := filepath.Join(h.diff(ids[1]), dir); isThere(path) {
					must(t, os.Chmod(path, 0o700+fs.FileMode(n)))
				}
			}
			stack, err := s.stack(ids, "")
			must(t, err)
			if !stack[0].joined || stack[1].joined || stack[1].above == "" {
				t.Fatalf("%+v", stack)
			}
			under := shadowTree{}
			must(t, filepath.WalkDir(stack[0].below, func(path string, entry fs.DirEntry, err error) error {
				must(t, err)
				rel, err := filepath.Rel(stack[0].below, path)
				must(t, err)
				if !entry.IsDir() {
					under.dir(filepath.Dir(rel)).whiteouts[entry.Name()] = true
					return nil
				}
				under.dir(rel).opaque, err = hasOpaqueXattr(path, s.to)
				of := h.diff(ids[0])
				if !isThere(filepath.Join(of, rel)) {
					of = h.diff(ids[1])
				}
				got, _ := strings.CutSuffix(readTree(t, path)["."], ` trusted.overlay.opaque="y"`)
				if want := readTree(t, filepath.Join(of, rel))["."]; got != want {
					t.Errorf("%s is %s, and is to be %s", rel, got, want)
				}
				return err
			}))
			if got := under.summary(); !maps.Equal(got, c.under) {
				t.Errorf("below is %q", got)
			}
			if lowers := lowersOf(stack); slices.Contains(lowers, stack[1].above) || !slices.Contains(lowers, stack[0].above) {
				t.Errorf("they are mounted as %q", lowers)
			}
			// What is above the parent is another one from now on.
			must(t, h.forget(ids[1]))
			write(t, h.diff(ids[1]), files{"more/.wh.n": ""})
			stack, err = s.stack(ids, "")
			must(t, err)
			if shows := isThere(filepath.Join(stack[0].below, "more/.wh.n")); !shows {
				t.Error("what the parent has since is not hidden")
			}
		})
	}
}
