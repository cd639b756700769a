//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// deepLayers is the maximum number of layers of an image for docker, and so for everybody.
const deepLayers = 127

// deepFiles returns the files of layer number n of an image. Each layer of this image deletes two files of the layer below, one at the root
// and one in keep/, and replaces the directory d of the layer below.
func deepFiles(n int) files {
	f := files{
		fmt.Sprintf("f%03d", n): "f", "d/.wh..wh..opq": "", fmt.Sprintf("d/f%03d", n): "d",
		fmt.Sprintf("keep/k%03d", n): "k", fmt.Sprintf("keep/t%03d", n): "t",
	}
	if n > 0 {
		f[fmt.Sprintf(".wh.f%03d", n-1)] = ""
		f[fmt.Sprintf("keep/.wh.t%03d", n-1)] = ""
	}
	return f
}

// deepNames returns the names that a layer on top of n such layers shows.
func deepNames(n int) []string {
	names := []string{
		fmt.Sprintf("f%03d", n-1), "d", fmt.Sprintf("d/f%03d", n-1), "keep", fmt.Sprintf("keep/t%03d", n-1),
	}
	for i := range n {
		names = append(names, fmt.Sprintf("keep/k%03d", i))
	}
	return names
}

// deepImage unpacks that many such layers, and returns a function that returns the id of layer number n.
func deepImage(t *testing.T, s testStore, layers int) (id func(n int) string) {
	t.Helper()
	id = func(n int) string { return fmt.Sprintf("layer%03d", n) }
	parent := ""
	for n := range layers {
		entries := []entry{{Name: "d/"}, {Name: "keep/"}}
		for path, content := range deepFiles(n) {
			entries = append(entries, entry{Name: path, Content: content})
		}
		s.create(t, parent, id(n))
		s.apply(t, id(n), parent, entries...)
		parent = id(n)
	}
	return id
}

// usesDeepImage makes a layer on top of such an image, works in it, and removes it.
func usesDeepImage(t *testing.T, s testStore, parent string, layers int) {
	t.Helper()
	s.create(t, parent, "child")
	dir := s.get(t, "child")
	sameNames(t, readTree(t, dir).Names(), deepNames(layers)...)
	write(t, dir, files{"own": "own"})
	must(t, os.RemoveAll(filepath.Join(dir, "keep")))
	must(t, s.Put("child"))
	last := layers - 1
	for _, options := range [][]string{nil, {"ro"}} {
		sameNames(t, s.see(t, "child", options...).Names(), "own", "d", fmt.Sprintf("d/f%03d", last), fmt.Sprintf("f%03d", last))
	}
	must(t, s.Remove("child"))
}

// allowed finds in the text of an error how many branches the kernel's aufs allows.
var allowed = regexp.MustCompile(`allows (\d+)`)

// TestDeepImageWithMarksInEachLayer mounts an image with the maximum number of layers, each of which has deletions and an opaque directory.
// If the kernel allows fewer branches than aufs needs for that, the test uses as many layers as the kernel allows.
func TestDeepImageWithMarksInEachLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		layers := deepLayers
		id := deepImage(t, s, layers)
		if name == backend.Aufs {
			t.Cleanup(wire.ExpectMessages("number of branches exceeded"))
			s.create(t, id(layers-1), "too-deep")
			_, err := s.Get("too-deep", driver.GetOptions{})
			if errors.Is(err, unix.ENOSPC) {
				found := allowed.FindStringSubmatch(err.Error())
				if found == nil {
					t.Fatalf("%v\n does not say how many branches there can be", err)
				}
				limit, err := strconv.Atoi(found[1])
				must(t, err)
				if limit > 2*layers+1 {
					t.Errorf("%d layers do not fit into %d branches", layers+1, limit)
				}
				t.Logf("this kernel allows %d branches", limit)
				// One branch is the child's, and each layer takes a second branch for what it hides.
				layers = min(layers, (limit-1)/2)
			} else {
				must(t, err)
				must(t, s.Put("too-deep"))
			}
			must(t, s.Remove("too-deep"))
		}
		usesDeepImage(t, s, id(layers-1), layers)
	})
}

// numbersIn returns the numbers in a text that are words of their own.
func numbersIn(text string) []int {
	var numbers []int
	for _, word := range regexp.MustCompile(`\b[1-9]\d{0,5}\b`).FindAllString(text, -1) {
		n, err := strconv.Atoi(word)
		if err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// saysBoth fails the test unless err, from a mount that takes more directories than overlayfs does, has both the limit and a number for
// which taken returns true.
func saysBoth(t *testing.T, err error, taken func(n int) bool) {
	t.Helper()
	limit, found := false, false
	for _, n := range numbersIn(err.Error()) {
		limit = limit || n == backend.MostLowers
		found = found || taken(n)
	}
	if !limit || !found {
		t.Errorf("%v\n does not say how many directories there are, and that there can be %d", err, backend.MostLowers)
	}
}

// TestStackThatIsTooDeepForOverlayfs has more layers below a container than overlayfs takes directories.
func TestStackThatIsTooDeepForOverlayfs(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		top := s.longStack(t, backend.MostLowers+2)
		for _, options := range [][]string{nil, {"nodev"}} {
			_, err := s.Get(top, driver.GetOptions{Options: options})
			wants(t, err, nil, top)
			saysBoth(t, err, func(n int) bool { return n == backend.MostLowers+1 })
			noMounts(t, s.inner.Home.Mnt(""))
		}
		if seen := s.see(t, fmt.Sprintf("%064d", backend.MostLowers)); len(seen) != backend.MostLowers+2 {
			t.Errorf("the layer below it shows %d files", len(seen))
		}
	})
}

// TestStackThatShadowsMakeTooDeep has fewer layers than overlayfs takes directories, but so many marks in them that a correct mount may
// take more directories than that. The mount shows everything, or the error says why not.
func TestStackThatShadowsMakeTooDeep(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		const layers = 300
		top := s.longStack(t, layers+1)
		for n := range layers {
			dir := s.inner.Home.Diff(fmt.Sprintf("%064d", n))
			must(t, os.Remove(filepath.Join(dir, fmt.Sprintf("f%03d", n))))
			write(t, dir, deepFiles(n))
		}
		want := append(deepNames(layers), fmt.Sprintf("f%03d", layers))
		dir, err := s.Get(top, driver.GetOptions{})
		if err != nil {
			wants(t, err, nil, top)
			saysBoth(t, err, func(n int) bool { return n > backend.MostLowers })
			noMounts(t, s.inner.Home.Mnt(""))
			return
		}
		sameNames(t, readTree(t, dir).Names(), want...)
		must(t, s.Put(top))
	})
}

// TestMarksInADeepDirectory has marks, in the shadows of two layers, in a directory whose path is longer than the kernel takes.
func TestMarksInADeepDirectory(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "parent", "child", "top")
		deep := strings.Repeat(strings.Repeat("d", 200)+"/", 20)
		s.apply(t, "base", "", entry{Name: deep}, entry{Name: deep + "x"}, entry{Name: "gone"})
		s.apply(t, "parent", "base", entry{Name: deep}, entry{Name: deep + ".wh.x"})
		s.apply(t, "child", "parent", entry{Name: ".wh.gone"})
		for range 2 {
			dir := s.get(t, "top", "ro")
			if store.IsThere(filepath.Join(dir, "gone")) || !store.IsThere(filepath.Join(dir, strings.Repeat("d", 200))) {
				t.Error("it shows something else")
			}
			must(t, s.Put("top"))
		}
	})
}
