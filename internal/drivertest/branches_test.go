//go:build linux

package drivertest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

func lowers(n, length int) []string {
	var paths []string
	for i := range n {
		path := fmt.Sprintf("/%d", i)
		paths = append(paths, path+strings.Repeat("x", length-len(path)))
	}
	return paths
}

// stackOf returns a stack of layers without shadows, with these directories.
func stackOf(readOnly bool, dirs ...string) backend.Stack {
	var s backend.Stack
	if readOnly {
		s.Options.Flags = unix.MS_RDONLY
	}
	for _, dir := range dirs {
		s.Layers = append(s.Layers, shadow.Shown{Dir: dir})
	}
	return s
}

func TestBranchesOf(t *testing.T) {
	s := stackOf(false, "/a", "/b", "/c")
	s.Layers[0].Above, s.Layers[0].Below, s.Layers[0].Unread = "/above", "/below", true
	s.Layers[1].Unread = true
	for want, got := range map[string][]aufsfs.Branch{
		"[/top=rw /above=ro+wh /a=ro /below=ro+wh /b=ro /c=ro+wh]": backend.BranchesOf(s, "/top"),
		"[/top=rw /b=ro+wh /c=ro+wh]":                              backend.PlainBranches(backend.Stack{Layers: s.Layers[1:]}, "/top"),
		"[]":                                                       backend.PlainBranches(s, "/top"),
		"[/a=ro+wh]":                                               backend.BranchesOf(stackOf(true, "/a"), "/top"),
		"[/top=rw]":                                                backend.BranchesOf(backend.Stack{}, "/top"),
	} {
		if fmt.Sprint(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestMountCallsInFull(t *testing.T) {
	calls, err := aufsfs.Calls(backend.BranchesOf(stackOf(false, "/a", "/b"), "/top"), []string{"xino=/x", "dio"}, `context="l"`, 40)
	if err != nil {
		t.Fatal(err)
	}
	want := []aufsfs.Call{
		{Data: `br:/top=rw,xino=/x,dio,context="l"`, Branches: 1},
		{Data: `append:/a=ro+wh,context="l"`, Branches: 1},
		{Data: `append:/b=ro+wh,context="l"`, Branches: 1},
	}
	if fmt.Sprint(calls) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", calls, want)
	}
	calls, err = aufsfs.Calls(backend.BranchesOf(stackOf(false, "/a", "/b"), "/top"), []string{"dio"}, "", 4095)
	if want := "[{br:/top=rw:/a=ro+wh:/b=ro+wh,dio 3}]"; err != nil || fmt.Sprint(calls) != want {
		t.Errorf("got %v, %v, want %s", calls, err, want)
	}
}

// TestMountCallsBounds shows that no call exceeds a limit of the kernel, and that there are no more calls than needed.
func TestMountCallsBounds(t *testing.T) {
	for _, c := range []struct {
		name             string
		parents, length  int
		options          int
		maxBytes, atMost int
	}{
		{"short paths are bounded by number", 500, 8, 3, 4095, 9},
		{"long paths are bounded by bytes", 120, 110, 3, 4095, 4},
		{"many options", 100, 8, 50, 4095, 4},
		{"one each", 10, 100, 1, 150, 11},
	} {
		t.Run(c.name, func(t *testing.T) {
			var options []string
			for i := range c.options {
				options = append(options, fmt.Sprintf("o%d", i))
			}
			branches := backend.BranchesOf(stackOf(false, lowers(c.parents, c.length)...), "/top")
			calls, err := aufsfs.Calls(branches, options, "", c.maxBytes)
			if err != nil {
				t.Fatal(err)
			}
			if len(calls) > c.atMost {
				t.Errorf("%d calls, where %d are enough", len(calls), c.atMost)
			}
			var paths []string
			for _, call := range calls {
				if len(call.Data) > c.maxBytes {
					t.Errorf("a call of %d bytes", len(call.Data))
				}
				found := pathsIn(call.Data)
				if n := len(found) + strings.Count(call.Data, ",o"); n > aufsfs.MaxOptionsPerCall {
					t.Errorf("a call of %d options and branches", n)
				}
				if len(found) != call.Branches {
					t.Errorf("%d branches in a call that is said to have %d", len(found), call.Branches)
				}
				paths = append(paths, found...)
			}
			if got, want := strings.Join(paths, " "), fmt.Sprint(branches); "["+got+"]" != want {
				t.Errorf("the branches are not in order, or not all there:\n%s\n%s", got, want)
			}
		})
	}
}

// pathsIn returns the branches in the data of a mount call. It does not use the code under test.
func pathsIn(data string) []string {
	var found []string
	for _, part := range strings.FieldsFunc(data, func(r rune) bool { return r == ',' || r == ':' }) {
		if strings.HasPrefix(part, "/") {
			found = append(found, part)
		}
	}
	return found
}

func TestMountCallsThatCannotFit(t *testing.T) {
	_, err := aufsfs.Calls(backend.BranchesOf(backend.Stack{}, "/top"), []string{"xino=/" + strings.Repeat("x", 90)}, "", 100)
	wants(t, err, nil, "/top", "100 bytes", "xino")
	var options []string
	for range aufsfs.MaxOptionsPerCall {
		options = append(options, "dio")
	}
	_, err = aufsfs.Calls(backend.BranchesOf(backend.Stack{}, "/top"), options, "", 4095)
	wants(t, err, nil, "64")
	_, err = aufsfs.Calls(nil, nil, "", 4095)
	wants(t, err, nil, "without a branch")
}

func TestContextOption(t *testing.T) {
	if got := mountutil.ContextOption(""); got != "" {
		t.Errorf("without a label: %q", got)
	}
	got := mountutil.ContextOption("system_u:object_r:container_file_t:s0:c1,c2")
	if want := `context="system_u:object_r:container_file_t:s0:c1,c2"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestShortPaths(t *testing.T) {
	h := storeOf(t)
	write(t, string(h), files{"diff/a/": "", "overlay/shadow/": "", "diffuse/": ""})
	outside, image := t.TempDir(), store.Home(t.TempDir())
	write(t, string(image), files{"diff/b/": ""})
	stores := store.Stores{Home: h, Images: []store.Home{"/no image store here", image}}
	paths := []string{h.Diff("a"), image.Diff("b"), h.Overlay(store.ShadowDir), string(h) + "/diffuse", outside}
	var branches []aufsfs.Branch
	for _, path := range paths {
		branches = append(branches, aufsfs.Branch{Path: path, Permission: "ro+wh"})
	}
	short, done, err := backend.ShortPaths(stores, branches)
	must(t, err)
	for i, path := range paths {
		want, err := os.Stat(path)
		must(t, err)
		if got, err := os.Stat(short[i].Path); err != nil || !os.SameFile(got, want) || short[i].Permission != "ro+wh" {
			t.Errorf("%s became %v: %v", path, short[i], err)
		}
	}
	for i, id := range []string{"a", "b"} {
		if got := short[i].Path; !strings.HasPrefix(got, "/proc/self/fd/") || !strings.HasSuffix(got, "/"+id) || len(got) > len("/proc/self/fd/9999/a") {
			t.Errorf("got %s", got)
		}
	}
	done()
	for _, b := range short[:2] {
		if _, err := os.Stat(b.Path); err == nil {
			t.Error("a directory is still open")
		}
	}
	for _, missing := range []store.Home{image, h} {
		must(t, os.RemoveAll(missing.Diff("")))
		if _, _, err := backend.ShortPaths(stores, branches); err == nil {
			t.Error("there is no directory, and no error")
		}
	}
}
