//go:build linux

package drivertest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/chrootarchive"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	treelisting "github.com/seed-642172e2/aufs/internal/listing"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// intree runs the storage library's own aufs driver on a store, each command in a process of its own.
type intree struct{ storetest.Program }

func inTree(program, home string) intree { return intree{storetest.Program{Path: program, Home: home}} }

// list returns the listing of what a mount of the layer id shows, in the format of intree.
func (s testStore) list(t *testing.T, id string, options ...string) string {
	t.Helper()
	var b bytes.Buffer
	must(t, treelisting.Write(&b, s.get(t, id, options...)))
	must(t, s.Put(id))
	return b.String()
}

// sameText fails the test with the lines that are in only one of the texts.
func sameText(t *testing.T, what, got, want string) {
	t.Helper()
	only := func(sign, these, those string) string {
		there := map[string]bool{}
		for _, line := range strings.Split(those, "\n") {
			there[line] = true
		}
		var lines strings.Builder
		for _, line := range strings.Split(these, "\n") {
			if !there[line] {
				lines.WriteString(sign + line + "\n")
			}
		}
		return lines.String()
	}
	if got != want {
		t.Errorf("%s differs:\n%s%s", what, only("+", got, want), only("-", want, got))
	}
}

// someOf leaves out most of the layers of the long stack in the in-tree driver's sample, because they are alike and each takes a process.
func someOf(ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		number, deep := strings.CutPrefix(id, "deep-")
		n, err := strconv.Atoi(number)
		return deep && err == nil && n%16 != 0
	})
}

// TestStoreOfTheInTreeDriver has the in-tree driver write a store. It reads the store and adds to it with both backends, and has the
// in-tree driver read the result.
func TestStoreOfTheInTreeDriver(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		home := filepath.Join(t.TempDir(), "home")
		if name := fsName(filepath.Dir(home)); name == "btrfs" {
			t.Skipf("the in-tree driver does not take %s", name)
		}
		old := newIntree(t, home)
		t.Cleanup(wire.ExpectMessages(unflushed))
		old.Run(t, nil, "write-sample")
		ids := strings.Fields(old.Run(t, nil, "list"))
		want := map[string]string{}
		compared := someOf(ids)
		for _, id := range compared {
			want[id] = old.Run(t, nil, "tree", id)
		}
		old.Run(t, nil, "cleanup")
		for _, name := range []backend.Name{backend.Aufs, backend.Overlay} {
			s := openStore(t, home, name)
			got, err := s.ListLayers()
			must(t, err)
			sameNames(t, got, ids...)
			for _, id := range compared {
				sameText(t, fmt.Sprintf("%s on %s", id, name), s.list(t, id), want[id])
				sameText(t, fmt.Sprintf("%s read-only on %s", id, name), s.list(t, id, "ro"), want[id])
			}
			must(t, s.Cleanup())
		}
		// Our backends add layers by turns. Each layer replaces directories of its own, and only once: the in-tree driver shows too much of
		// a directory that is replaced twice (package shadow).
		s := openStore(t, home, backend.Aufs)
		s.create(t, "top", "ground")
		s.change(t, "ground", func(dir string) {
			for i := range 6 {
				write(t, dir, files{fmt.Sprintf("d%d/old/f", i): "f", fmt.Sprintf("d%d/g", i): "g"})
			}
		})
		must(t, s.Cleanup())
		top, mine := "ground", map[string]string{}
		for i, name := range []backend.Name{backend.Overlay, backend.Aufs, backend.Overlay} {
			s := openStore(t, home, name)
			id, replaced, opaque := fmt.Sprintf("mine%d", i), fmt.Sprintf("d%d", i), fmt.Sprintf("d%d", i+3)
			s.create(t, top, id)
			s.change(t, id, func(dir string) {
				must(t, os.RemoveAll(filepath.Join(dir, replaced)))
				write(t, dir, files{replaced + "/old/new": id, "by-" + id: id})
				must(t, os.Remove(filepath.Join(dir, fmt.Sprintf("deep/deep-%02d", i+2))))
				must(t, os.Rename(filepath.Join(dir, fmt.Sprintf("deep/deep-%02d", i+10)), filepath.Join(dir, "moved-"+id)))
			})
			top = id + "-applied"
			s.create(t, id, top)
			s.apply(t, top, id, entry{Name: ".wh.moved-" + id}, entry{Name: opaque + "/.wh..wh..opq"}, entry{Name: opaque + "/x", Content: "x"})
			for _, layer := range []string{id, top} {
				mine[layer] = s.list(t, layer)
			}
			must(t, s.Cleanup())
		}
		must(t, maintenance.Convert(t.Context(), home))
		for id, want := range mine {
			sameText(t, "the in-tree driver's view of "+id, old.Run(t, nil, "tree", id), want)
		}
		// The in-tree driver adds layers on top of ours, and our backends read them.
		old.Run(t, nil, "create-rw", "theirs", top)
		old.Run(t, nil, "run", "theirs", "--", "rm", "-r", "by-mine0", "d5")
		theirs := old.Run(t, nil, "tree", "theirs")
		old.Run(t, nil, "create", "short-lived", "theirs")
		old.Run(t, nil, "remove", "short-lived")
		old.Run(t, nil, "cleanup")
		for _, name := range []backend.Name{backend.Aufs, backend.Overlay} {
			s := openStore(t, home, name)
			if s.Exists("short-lived") || !s.Exists("theirs") {
				t.Error("what the in-tree driver made and removed is not what exists")
			}
			sameText(t, "theirs on "+string(name), s.list(t, "theirs"), theirs)
			must(t, s.Cleanup())
		}
		if old.Run(t, nil, "list") == "" {
			t.Error("the in-tree driver sees nothing")
		}
	})
}

// TestCapturedStore reads a store that the in-tree driver wrote on a kernel with aufs, and compares its layers with what the in-tree driver
// itself saw. testdata/intree/README.md says how the store was made.
func TestCapturedStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		home := filepath.Join(t.TempDir(), "home")
		must(t, os.Mkdir(home, 0o700))
		f, err := os.Open("testdata/intree/store.tar.gz")
		must(t, err)
		defer f.Close()
		must(t, chrootarchive.Untar(f, home, &archive.TarOptions{}))
		s := openStore(t, home, name)
		want := capturedTrees(t)
		ids, err := s.ListLayers()
		must(t, err)
		if len(ids) != 44 || len(want) != 7 {
			t.Errorf("%d layers, of which %d are described", len(ids), len(want))
		}
		for id, text := range want {
			sameText(t, id, s.list(t, id), text)
			sameText(t, id+" read-only", s.list(t, id, "ro"), text)
			s.oneForm(t, id)
		}
	})
}

// capturedTrees reads what the in-tree driver saw: for each layer a line "layer ID", and the layer's listing. Where files cannot have user
// attributes, it removes these from the listings, because the archive is unpacked without them.
func capturedTrees(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/intree/trees.txt")
	must(t, err)
	defer f.Close()
	trees := map[string]string{}
	id := ""
	attribute, keep := regexp.MustCompile(` user\.sample="\w+"$`), hasUserXattrs(t)
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		if name, ok := strings.CutPrefix(scanner.Text(), "layer "); ok {
			id = name
			continue
		}
		line := scanner.Text()
		if !keep {
			line = attribute.ReplaceAllLiteralString(line, " -")
		}
		trees[id] += line + "\n"
	}
	return trees
}
