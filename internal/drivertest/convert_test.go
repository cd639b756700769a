//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// inOverlayForm converts the layer at root to the overlay form f.
func inOverlayForm(t *testing.T, root string, f whiteout.Form) {
	t.Helper()
	marked, err := whiteout.Search{Root: root, Devices: true, All: true}.Find()
	must(t, err)
	must(t, whiteout.ToOverlayForm(root, marked, f))
}

// testForm returns the overlay form that conversions are tested with.
func testForm(t *testing.T) whiteout.Form {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("character devices 0/0 and trusted attributes take root")
	}
	return whiteout.OverlayTrusted
}

// device makes a character device 0/0.
func device(t *testing.T, path string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, unix.Mknod(path, unix.S_IFCHR|0o600, 0))
}

// opaque marks a directory as opaque in overlay form.
func opaque(t *testing.T, dir string, f whiteout.Form) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	must(t, system.Lsetxattr(dir, f.XattrPrefix()+"opaque", []byte("y"), 0))
}

// withTimes returns the tree of readTree, and adds the times of directories.
func withTimes(t *testing.T, root string) tree {
	t.Helper()
	all := readTree(t, root)
	for rel := range all {
		info, err := os.Lstat(filepath.Join(root, rel))
		must(t, err)
		if info.IsDir() {
			all[rel] += " " + info.ModTime().String()
		}
	}
	return all
}

// age gives each directory of a tree its own time in the past.
func age(t *testing.T, root string) {
	t.Helper()
	second := int64(1_000_000_000)
	must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		second++
		return os.Chtimes(path, time.Unix(second, 123), time.Unix(second, 456))
	}))
}

// withoutMarks returns the tree without the marks of either form, without aufs's own files, and without overlayfs's attributes.
func withoutMarks(all tree) tree {
	rest := tree{}
	for path, node := range all {
		name := filepath.Base(path)
		if strings.Contains(node, "device 0") || strings.HasPrefix(path, whiteoutMetaPrefix) || name == whiteout.OpaqueMark ||
			strings.HasPrefix(name, whiteout.Prefix) && strings.Contains(node, " 0 e3b0c44298fc") {
			continue
		}
		for _, attribute := range []string{` trusted.overlay.opaque="y"`, ` trusted.overlay.origin=""`} {
			node = strings.ReplaceAll(node, attribute, "")
		}
		rest[path] = node
	}
	return rest
}

// longName returns a name of that many bytes.
func longName(bytes int) string { return strings.Repeat("n", bytes) }

// A convertedTree is a layer in aufs form, and its names in overlay form.
type convertedTree struct {
	name string
	aufs files
	// more makes what files cannot express.
	more    func(t *testing.T, root string)
	overlay []string
	// opaque lists the opaque directories.
	opaque []string
	// back lists the names after the conversion back to aufs form, if they differ from those before.
	back []string
}

var convertedTrees = []convertedTree{
	{name: "nothing"},
	{name: "no marks", aufs: files{"f": "f", "d/e/f": "f"}, overlay: []string{"f", "d", "d/e", "d/e/f"}},
	{name: "a whiteout", aufs: files{".wh.a": "", "f": "f"}, overlay: []string{"a", "f"}},
	{
		name: "whiteouts deep inside", aufs: files{"d/e/.wh.a": "", "d/e/.wh.b": "", "d/.wh.c": "", "x/f": "f"},
		overlay: []string{"d", "d/c", "d/e", "d/e/a", "d/e/b", "x", "x/f"},
	},
	{name: "an opaque directory", aufs: files{"d/.wh..wh..opq": "", "d/f": "f"}, overlay: []string{"d", "d/f"}, opaque: []string{"d"}},
	{
		name: "opaque directories in each other", aufs: files{"d/.wh..wh..opq": "", "d/e/.wh..wh..opq": "", "d/e/g/.wh.x": "", "d/e/f": "f"},
		overlay: []string{"d", "d/e", "d/e/f", "d/e/g", "d/e/g/x"}, opaque: []string{"d", "d/e"},
	},
	{name: "an opaque root", aufs: files{".wh..wh..opq": "", "f": "f"}, overlay: []string{"f"}, opaque: []string{"."}},
	{
		name: "files of aufs", aufs: files{whiteout.Base: "", whiteout.OrphanDir + "/": "", whiteout.PseudoLinkDir + "/12.34": "link", ".wh.a": "", "f": "f"},
		overlay: []string{"a", "f"}, back: []string{".wh.a", "f"},
	},
	{
		name: "linked whiteouts", aufs: files{whiteout.Base: "", "f": "f"},
		more: func(t *testing.T, root string) {
			t.Helper()
			for _, name := range []string{".wh.a", ".wh.b", "d/.wh.c", "d/.wh.d"} {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
				must(t, os.Link(filepath.Join(root, whiteout.Base), filepath.Join(root, name)))
			}
		},
		overlay: []string{"a", "b", "d", "d/c", "d/d", "f"}, back: []string{".wh.a", ".wh.b", "d", "d/.wh.c", "d/.wh.d", "f"},
	},
	{
		// Overlayfs has no form for this: both files stay.
		name: "a file beside its whiteout", aufs: files{"f": "f", ".wh.f": "", ".wh.g": ""}, overlay: []string{"f", ".wh.f", "g"},
	},
	{
		name: "files with names of whiteouts", aufs: files{".wh.full": "precious", ".wh.dir/f": "f", ".wh.": "x", "d/.wh..": "", "d/.wh...": ""},
		overlay: []string{".wh.full", ".wh.dir", ".wh.dir/f", ".wh.", "d", "d/.wh..", "d/.wh..."},
	},
	{
		name: "whiteouts with long names", aufs: files{".wh." + longName(251): "", "d/.wh." + longName(250): ""},
		overlay: []string{longName(251), "d", "d/" + longName(250)},
	},
	{
		name: "files with long names", aufs: files{longName(252): "x", "d/" + longName(255) + "/.wh.a": "", longName(255): "y"},
		overlay: []string{longName(252), "d", "d/" + longName(255), "d/" + longName(255) + "/a", longName(255)},
	},
	{
		name: "other files", aufs: files{".wh.a": "", "d/.wh.b": ""},
		more: func(t *testing.T, root string) {
			t.Helper()
			must(t, os.Symlink("nowhere", filepath.Join(root, "link")))
			must(t, unix.Mkfifo(filepath.Join(root, "pipe"), 0o640))
			must(t, unix.Mknod(filepath.Join(root, "d/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
			write(t, root, files{"one": "1"})
			must(t, os.Link(filepath.Join(root, "one"), filepath.Join(root, "d/two")))
			must(t, os.Lchown(filepath.Join(root, "d"), 3, 4))
			must(t, os.Chmod(filepath.Join(root, "d"), 0o711|fs.ModeSticky|fs.ModeSetgid))
			must(t, system.Lsetxattr(filepath.Join(root, "d"), "trusted.test", []byte("v"), 0))
			must(t, system.Lsetxattr(filepath.Join(root, "one"), "trusted.test", []byte("w"), 0))
			must(t, system.Lsetxattr(filepath.Join(root, "d"), "trusted.overlay.overlay.opaque", []byte("y"), 0))
		},
		overlay: []string{"a", "d", "d/b", "d/null", "d/two", "one", "link", "pipe"},
	},
}

// TestConvertThereAndBack converts layers both ways, and twice each way: the second conversion changes nothing.
func TestConvertThereAndBack(t *testing.T) {
	f := testForm(t)
	for _, c := range convertedTrees {
		t.Run(c.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "layer")
			must(t, os.Mkdir(root, 0o755))
			write(t, root, c.aufs)
			if c.more != nil {
				c.more(t, root)
			}
			age(t, root)
			names, want := readTree(t, root).Names(), withoutMarks(withTimes(t, root))
			if c.back != nil {
				names = c.back
			}
			for range 2 {
				inOverlayForm(t, root, f)
				sameNames(t, readTree(t, root).Names(), c.overlay...)
				sameTree(t, withoutMarks(withTimes(t, root)), want)
				var found []string
				for path, node := range readTree(t, root) {
					if strings.Contains(node, ` trusted.overlay.opaque="y"`) {
						found = append(found, path)
					}
				}
				sameNames(t, found, c.opaque...)
			}
			for range 2 {
				must(t, whiteout.ToAufsForm(root, f))
				sameNames(t, readTree(t, root).Names(), names...)
				sameTree(t, withoutMarks(withTimes(t, root)), want)
				for path, node := range readTree(t, root) {
					if strings.Contains(node, "device 0") || strings.Contains(node, " trusted.overlay.o") && !strings.Contains(node, "overlay.overlay") {
						t.Errorf("%s is still %s", path, node)
					}
				}
			}
			inOverlayForm(t, root, f)
			sameNames(t, readTree(t, root).Names(), c.overlay...)
		})
	}
}

// TestConvertFromOverlay converts a layer that overlayfs and a container have written.
func TestConvertFromOverlay(t *testing.T) {
	f := testForm(t)
	root := filepath.Join(t.TempDir(), "layer")
	write(t, root, files{"f": "f", "d/f": "f", "o/f": "f", ".wh.full": "content", "d/.wh..wh.x": "content"})
	device(t, filepath.Join(root, "gone"))
	device(t, filepath.Join(root, "d/gone"))
	must(t, os.Link(filepath.Join(root, "d/gone"), filepath.Join(root, "d/gone too")))
	opaque(t, filepath.Join(root, "o"), f)
	for name, value := range map[string]string{"origin": "x", "impure": "y", "overlay.opaque": "y", "opaque": "x"} {
		must(t, system.Lsetxattr(filepath.Join(root, "d"), f.XattrPrefix()+name, []byte(value), 0))
	}
	must(t, system.Lsetxattr(filepath.Join(root, "f"), f.XattrPrefix()+"origin", []byte("x"), 0))
	must(t, system.Lsetxattr(filepath.Join(root, "f"), "trusted.mine", []byte("x"), 0))
	for range 2 {
		must(t, whiteout.ToAufsForm(root, f))
		sameNames(t, readTree(t, root).Names(),
			"f", "d", "d/f", "o", "o/f", ".wh.full", "d/.wh..wh.x", ".wh.gone", "d/.wh.gone", "d/.wh.gone too", "o/.wh..wh..opq")
	}
	for path, want := range map[string][]string{"f": {"trusted.mine"}, "d": {f.XattrPrefix() + "overlay.opaque"}, "o": nil, ".": nil} {
		names, err := system.Llistxattr(filepath.Join(root, path))
		must(t, err)
		sameNames(t, names, want...)
	}
	info, err := os.Lstat(filepath.Join(root, ".wh.gone"))
	if err != nil || info.Mode() != whiteout.Mode || info.Size() > 0 {
		t.Errorf("a whiteout is %v, %v", info, err)
	}
}

// TestConvertCutShort converts each mixture of the two forms that a crash can leave.
func TestConvertCutShort(t *testing.T) {
	f := testForm(t)
	layer := files{"kept": "k", "dir/kept": "k", ".wh.gone": "", "dir/.wh.gone": "", "opaque/.wh..wh..opq": "", "opaque/f": "f", "opaque/sub/.wh.x": ""}
	for name, mix := range map[string]func(t *testing.T, root string){
		"nothing done":               func(*testing.T, string) {},
		"both forms of one whiteout": func(t *testing.T, root string) { t.Helper(); device(t, filepath.Join(root, "gone")) },
		"both forms of opaque":       func(t *testing.T, root string) { t.Helper(); opaque(t, filepath.Join(root, "opaque"), f) },
		"one done and one not": func(t *testing.T, root string) {
			t.Helper()
			must(t, os.Remove(filepath.Join(root, ".wh.gone")))
			device(t, filepath.Join(root, "gone"))
		},
		"all done": func(t *testing.T, root string) { t.Helper(); inOverlayForm(t, root, f) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, way := range []string{"there", "back"} {
				root := filepath.Join(t.TempDir(), "layer")
				write(t, root, layer)
				mix(t, root)
				if way == "there" {
					inOverlayForm(t, root, f)
					sameNames(t, readTree(t, root).Names(), "kept", "dir", "dir/kept", "gone", "dir/gone", "opaque", "opaque/f", "opaque/sub", "opaque/sub/x")
				}
				must(t, whiteout.ToAufsForm(root, f))
				sameNames(t, readTree(t, root).Names(),
					"kept", "dir", "dir/kept", ".wh.gone", "dir/.wh.gone", "opaque", "opaque/.wh..wh..opq", "opaque/f", "opaque/sub", "opaque/sub/.wh.x")
			}
		})
	}
}

// TestConvertKeepsForeignFiles has a container on overlayfs make files under names that aufs keeps for itself. The files are hidden in aufs
// form, and show again when overlayfs mounts the layer writable.
func TestConvertKeepsForeignFiles(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "child")
		s.apply(t, "base", "", entry{Name: "gone"})
		mine := files{
			"f": "f", "d/.wh..wh.mine": "mine", ".wh..wh.other": "other", "d/.wh..wh.dir/f": "deep", whiteout.Base: "base",
			whiteout.PseudoLinkDir + "/mine": "link", whiteout.PseudoLinkDir + "/1.2": "pseudo", whiteout.OrphanDir: "orphan", "x/" + whiteout.Base: "nested",
			// A name as this driver gives it to files that are in the way at the root.
			"d/" + whiteout.Base + whiteout.HiddenInfix + "x": "x",
		}
		s.change(t, "child", func(dir string) {
			write(t, dir, mine)
			must(t, os.Remove(filepath.Join(dir, "gone")))
		})
		want := s.see(t, "child")
		must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
		s.hasForm(t, "child", whiteout.AufsForm)
		sameNames(t, s.see(t, "child", "ro").Names(), "f", "d", "x")
		sameTree(t, s.see(t, "child"), want)
	})
}

// Each of layersWithoutAufsForm gives the layer child something that has no aufs form, and returns the path of the file that is in the way.
var layersWithoutAufsForm = map[string]func(t *testing.T, s testStore) (path string){
	"a whiteout with a name of 252 bytes": func(t *testing.T, s testStore) string {
		t.Helper()
		s.change(t, "child", func(dir string) { must(t, os.Remove(filepath.Join(dir, "d", longName(252)))) })
		return filepath.Join(s.inner.Home.Diff("child"), "d", longName(252))
	},
	"a whiteout with a name of 255 bytes": func(t *testing.T, s testStore) string {
		t.Helper()
		s.change(t, "child", func(dir string) { must(t, os.Remove(filepath.Join(dir, longName(255)))) })
		return filepath.Join(s.inner.Home.Diff("child"), longName(255))
	},
	"a file in the place of a whiteout": func(t *testing.T, s testStore) string {
		t.Helper()
		s.change(t, "child", func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "b")))
			write(t, dir, files{".wh.b": "content"})
		})
		return filepath.Join(s.inner.Home.Diff("child"), ".wh.b")
	},
	"a directory in the place of a whiteout": func(t *testing.T, s testStore) string {
		t.Helper()
		s.change(t, "child", func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "b")))
			write(t, dir, files{".wh.b/": ""})
		})
		return filepath.Join(s.inner.Home.Diff("child"), ".wh.b")
	},
	"a whiteout that would be an opaque mark": func(t *testing.T, s testStore) string {
		t.Helper()
		path := filepath.Join(s.inner.Home.Diff("child"), "d/.wh..opq")
		device(t, path)
		return path
	},
	"a directory in the place of an opaque mark": func(t *testing.T, s testStore) string {
		t.Helper()
		s.change(t, "child", func(dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "o")))
			write(t, dir, files{"o/.wh..wh..opq/": ""})
		})
		return filepath.Join(s.inner.Home.Diff("child"), "o/.wh..wh..opq")
	},
}

// TestUnreadableLayerHasAufsForm shows that a layer that cannot be read is not taken for one without aufs form.
func TestUnreadableLayerHasAufsForm(t *testing.T) {
	err := whiteout.MustHaveAufsForm(filepath.Join(t.TempDir(), "missing"), whiteout.OverlayTrusted)
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, whiteout.ErrNoAufsForm) {
		t.Error(err)
	}
}

// TestConvertRefusesWhatAufsHasNoFormFor has layers that only overlayfs can use. Convert leaves them as they are, and usable on overlayfs;
// the error names the file.
func TestConvertRefusesWhatAufsHasNoFormFor(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		for what, spoil := range layersWithoutAufsForm {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, backend.Overlay)
				h := s.inner.Home
				s.create(t, "", "base", "child", "top")
				s.create(t, "base", "another")
				s.apply(t, "base", "", entry{Name: longName(255)}, entry{Name: "d/"}, entry{Name: "d/" + longName(252)}, entry{Name: "a"}, entry{Name: "b"},
					entry{Name: "o/x"}, entry{Name: "kept"})
				for _, id := range []string{"child", "another"} {
					s.change(t, id, func(dir string) {
						must(t, os.Remove(filepath.Join(dir, "a")))
						// Aufs would take the first file for one of its own, and the second one for a whiteout.
						write(t, dir, files{"d/.wh..wh.x": "precious", ".wh.kept": ""})
					})
				}
				path := spoil(t, s)
				want := s.see(t, "child")
				before := allOf(t, h.Diff("child"))
				for range 2 {
					err := maintenance.Convert(t.Context(), string(h))
					wants(t, err, whiteout.ErrNoAufsForm, "child", path)
					if strings.Contains(err.Error(), "another") {
						t.Error(err)
					}
					changedOnly(t, allOf(t, h.Diff("child")), before)
				}
				s.hasForm(t, "another", whiteout.AufsForm)
				if got := recordOf(t, h, "child"); got != string(whiteout.OverlayTrusted) {
					t.Errorf("the record is %q", got)
				}
				sameTree(t, s.see(t, "child"), want)
				sameTree(t, s.see(t, "child", "ro"), want)
				sameTree(t, s.see(t, "top"), want)
				// An earlier driver, which did not look for this first, has crashed during the conversion.
				setRecord(t, h, "child", "trusted converting")
				sameNames(t, s.see(t, "top", "ro").Names(), s.see(t, "child", "ro").Names()...)
				if got := recordOf(t, h, "child"); got != string(whiteout.OverlayTrusted) {
					t.Errorf("the record is %q", got)
				}
			})
		}
	})
}

// overlayAttribute matches one of overlayfs's attributes in a node of a tree.
var overlayAttribute = regexp.MustCompile(` (trusted|user)\.overlay\.\w+="([^"\\]|\\.)*"`)

// bare returns the tree without overlayfs's attributes, which aufs shows.
func bare(all tree) tree {
	rest := tree{}
	for path, node := range all {
		rest[path] = overlayAttribute.ReplaceAllLiteralString(node, "")
	}
	return rest
}

// changedOnly is sameTree for trees of allOf. It ignores what the kernel leaves on the root directory when the driver asks whether the
// directory is in use: overlayfs's attributes, and the time of the last change.
func changedOnly(t *testing.T, got, want tree) {
	t.Helper()
	bare := func(node string) string {
		node = overlayAttribute.ReplaceAllLiteralString(node, "")
		return node[:strings.LastIndex(node, " ")]
	}
	asked := func(all tree) tree {
		copied := tree{}
		for path, node := range all {
			copied[path] = node
		}
		copied["."] = bare(all["."])
		return copied
	}
	sameTree(t, asked(got), asked(want))
}

func TestDeviceZeroIsRefused(t *testing.T) {
	f := testForm(t)
	root := t.TempDir()
	write(t, root, files{"d/f": "f", ".wh.x": ""})
	device(t, filepath.Join(root, "d/zero"))
	_, err := whiteout.Search{Root: root}.Find()
	wants(t, err, nil, "d/zero", "0/0", "only the aufs backend")
	_, err = shadow.PlanOf(whiteout.LayerDir{Root: root, Form: whiteout.AufsForm}, f, nil, nil)
	wants(t, err, nil, "d/zero")
	if _, err := (whiteout.Search{Root: root, Devices: true}).Find(); err != nil {
		t.Error(err)
	}
}

// TestDeviceZeroOfAContainer has a container on aufs make a character device 0/0, which overlayfs would take for a whiteout. The overlay
// backend refuses to mount the layer, and leaves it unchanged.
func TestDeviceZeroOfAContainer(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "child", "top")
		s.apply(t, "base", "", entry{Name: "f"})
		s.change(t, "child", func(dir string) { must(t, os.Remove(filepath.Join(dir, "f"))) })
		must(t, s.Cleanup())
		a := openStore(t, string(s.inner.Home), backend.Aufs)
		a.change(t, "child", func(dir string) { device(t, filepath.Join(dir, "device")) })
		a = openStore(t, string(s.inner.Home), backend.Aufs)
		sameNames(t, a.see(t, "child").Names(), "device")
		must(t, a.Cleanup())
		before := allOf(t, s.inner.Home.Diff("child"))
		s = openStore(t, string(s.inner.Home), backend.Overlay)
		for _, id := range []string{"child", "top"} {
			for _, options := range [][]string{nil, {"ro"}} {
				_, err := s.Get(id, mountOpts(options...))
				wants(t, err, nil, id, "device", "only the aufs backend")
			}
		}
		sameTree(t, allOf(t, s.inner.Home.Diff("child")), before)
	})
}

func TestMarkedDirs(t *testing.T) {
	for _, c := range []struct {
		files files
		only  []string
		want  map[string]string
	}{
		{files: files{"a/b/c": "", "a/.w": "", "wh.x": ""}},
		{files: files{"a/b/.wh.c": "", "a/d/e": "", "f/g": ""}, want: map[string]string{"a/b": "c"}},
		{
			files: files{"a/b/.wh.c": "", "a/.wh..wh..opq": "", "x/y/.wh.z": "", "x/y/.wh.w": ""},
			want:  map[string]string{"a": "opaque", "a/b": "c", "x/y": "w z"},
		},
		{
			files: files{".wh..wh.plnk/1.2": "", ".wh..wh.orph/d/.wh.x": "", "a/.wh.b": ""},
			want:  map[string]string{".": "", "a": "b"},
		},
		{files: files{"a/.wh.f": "", "a/f": "", "b/.wh.d": "", "b/d/.wh.x": ""}, want: map[string]string{"a": "f beside f", "b": "d beside d"}},
		// Search looks only in the directories that an archive has named, and in the directories directly in them.
		{files: files{"a/.wh.x": "", "b/.wh.y": "", "b/c/.wh..wh..opq": "", "b/c/d/.wh.z": ""}, only: []string{"b"}, want: map[string]string{"b": "y", "b/c": "opaque"}},
		{files: files{"a/.wh.x": ""}, only: []string{"gone", "gone/too"}},
		{files: files{"a/b/.wh.x": "", "a/.wh.y": ""}, only: []string{"a/b", "a", "a/b"}, want: map[string]string{"a": "y", "a/b": "x"}},
		{files: files{"a/.wh.x": ""}, only: []string{}},
	} {
		dir := filepath.Join(t.TempDir(), ".wh.odd")
		write(t, dir, c.files)
		found, err := whiteout.Search{Root: dir, Only: c.only}.Find()
		must(t, err)
		got := map[string]string{}
		for i, m := range found {
			if _, before := got[filepath.Dir(m.Rel)]; i > 0 && !before && slices.ContainsFunc(found, func(o whiteout.MarkedDir) bool { return o.Rel == filepath.Dir(m.Rel) }) {
				t.Errorf("%s comes before the directory that it is in", m.Rel)
			}
			hidden := m.Whiteouts()
			text := strings.Join(sorted(hidden), " ")
			if len(m.Beside) > 0 {
				text += " beside " + strings.Join(sorted(m.Beside), " ")
			}
			if m.Opaque() {
				text += "opaque"
			}
			got[m.Rel] = text
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) && len(got)+len(c.want) > 0 {
			t.Errorf("%v, %v: %v", c.files, c.only, got)
		}
	}
}

// TestWhiteoutMaker shows that whiteouts are links to one file, and that Make makes another file where the file system makes no link.
func TestWhiteoutMaker(t *testing.T) {
	dir, err := fsutil.OpenReal(t.TempDir())
	must(t, err)
	defer dir.Close()
	w := whiteout.Maker{Dir: dir, Anew: whiteout.MakeAufs}
	inodes := func(names ...string) (n int) {
		seen := map[uint64]bool{}
		for _, name := range names {
			info, err := w.Dir.Lstat(name)
			must(t, err)
			if seen[fsutil.StatOf(info).Ino] = true; !info.Mode().IsRegular() || info.Size() > 0 {
				t.Errorf("%s is no whiteout: %v", name, info.Mode())
			}
		}
		return len(seen)
	}
	must(t, errors.Join(w.Make(".wh.a"), w.Make(".wh.b"), w.Make(".wh.c")))
	if n := inodes(".wh.a", ".wh.b", ".wh.c"); n != 1 {
		t.Errorf("there are %d files, which are to be one", n)
	}
	if err := w.Make(".wh.b"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("one that is there: %v", err)
	}
	// Linking fails, as if there were too many links.
	w.First += "-gone"
	must(t, errors.Join(w.Make(".wh.d"), w.Make(".wh.e")))
	if n := inodes(".wh.a", ".wh.d", ".wh.e"); n != 2 {
		t.Errorf("there are %d files, which are to be two", n)
	}
}

// TestWhiteoutsAreNoFilesOfOthers has a container make a file that the driver takes for a whiteout and that has a second name. No whiteout
// may become a link to this file.
func TestWhiteoutsAreNoFilesOfOthers(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base")
		var base []entry
		for i := range 30 {
			base = append(base, entry{Name: fmt.Sprintf("gone%02d", i), Content: "g"})
		}
		s.apply(t, "base", "", base...)
		s.create(t, "base", "top")
		s.change(t, "top", func(dir string) {
			write(t, dir, files{"data": ""})
			must(t, os.Link(filepath.Join(dir, "data"), filepath.Join(dir, ".wh.gone07")))
			for _, e := range base {
				must(t, os.Remove(filepath.Join(dir, e.Name)))
			}
		})
		must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
		info, err := os.Lstat(filepath.Join(s.inner.Home.Diff("top"), "data"))
		must(t, err)
		if n := fsutil.StatOf(info).Nlink; n != 2 {
			t.Errorf("the file has %d names, which are to be two", n)
		}
		// A container on aufs could write this.
		must(t, os.WriteFile(filepath.Join(s.inner.Home.Diff("top"), "data"), []byte("x"), 0o600))
		s.change(t, "top", func(dir string) {
			for _, e := range base {
				// The container has made the file .wh.gone07 itself, so what becomes of gone07 is its own affair.
				if _, err := os.Lstat(filepath.Join(dir, e.Name)); err == nil && e.Name != "gone07" {
					t.Errorf("%s is back", e.Name)
				}
			}
		})
	})
}

func TestReadListing(t *testing.T) {
	f := testForm(t)
	root := t.TempDir()
	write(t, root, files{
		"kept": "k", "dir/kept": "k", ".wh.gone": "", "dir/.wh.gone": "", "opaque/.wh..wh..opq": "", "opaque/f": "f", "opaque/sub/.wh.x": "",
		".wh..wh.aufs": "", ".wh..wh.orph/": "", ".wh..wh.plnk/11.12": "p",
	})
	for _, form := range []whiteout.Form{whiteout.AufsForm, f} {
		if form == f {
			inOverlayForm(t, root, f)
		}
		l, err := whiteout.ReadListing(root, ".", form)
		must(t, err)
		if len(l.Entries) != 3 || l.Entries["kept"] == nil || !l.Whiteouts["gone"] || len(l.Whiteouts) != 1 || l.Opaque {
			t.Errorf("%s: the root is %+v", form, l)
		}
		l, err = whiteout.ReadListing(root, "opaque", form)
		must(t, err)
		if len(l.Entries) != 2 || len(l.Whiteouts) != 0 || !l.Opaque {
			t.Errorf("%s: opaque is %+v", form, l)
		}
	}
}

// sorted returns the names in order.
func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }
