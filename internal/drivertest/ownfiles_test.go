//go:build linux

package drivertest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// foreignFiles make files that a container can make under one of aufs's own names, and that aufs cannot use.
var foreignFiles = map[string]func(path string) error{
	"a link": func(path string) error { return os.Symlink("/etc", path) },
	"a pipe": func(path string) error { return unix.Mkfifo(path, 0o644) },
	"a file": func(path string) error { return os.WriteFile(path, []byte("mine"), 0o644) },
	"a directory": func(path string) error {
		return errors.Join(os.Mkdir(path, 0o755), os.WriteFile(path+"/mine", []byte("mine"), 0o644))
	},
	"a link to its file": func(path string) error { return os.Link(filepath.Join(filepath.Dir(path), "empty"), path) },
}

// isForeign reports whether aufs cannot use the file that foreignFiles calls what, under the name own.
func isForeign(what, own string) bool {
	// Aufs's own directory of orphans may have content as well.
	return own != whiteout.OrphanDir || what != "a directory"
}

// hiddenOf returns the names in dir that whiteout.HideOwnFile has given to the file own.
func hiddenOf(t *testing.T, dir, own string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, own+whiteout.HiddenInfix+"*"))
	must(t, err)
	return found
}

// TestForeignOwnFilesGiveWay makes files under aufs's own names. PrepareOwnFiles must rename those that aufs cannot use.
func TestForeignOwnFilesGiveWay(t *testing.T) {
	needRoot(t)
	for what, place := range foreignFiles {
		for _, own := range whiteout.OwnFileNames {
			if what == "a link to its file" && own == whiteout.Base {
				// Nobody can tell this file from aufs's own, whose other names are whiteouts.
				continue
			}
			t.Run(what+" as "+own, func(t *testing.T) {
				b := newStoreWithout(t)
				dir := b.Home.Diff("layer")
				write(t, dir, files{"empty": ""})
				must(t, place(filepath.Join(dir, own)))
				old := time.Unix(1_000_000_000, 7)
				must(t, os.Chtimes(dir, old, old))
				was := readTree(t, filepath.Join(dir, own))
				for range 2 {
					must(t, b.PrepareOwnFiles("layer"))
				}
				hidden := hiddenOf(t, dir, own)
				if !isForeign(what, own) {
					sameTree(t, readTree(t, filepath.Join(dir, own)), was)
					return
				}
				if len(hidden) != 1 || !whiteout.IsOwnFile(filepath.Base(hidden[0])) {
					t.Fatalf("it is %q now", hidden)
				}
				sameTree(t, readTree(t, hidden[0]), was)
				if _, err := os.Lstat(filepath.Join(dir, own)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is still there: %v", own, err)
				}
				if info, err := os.Lstat(dir); err != nil || !info.ModTime().Equal(old) {
					t.Errorf("the directory has another time: %v, %v", info, err)
				}
			})
		}
	}
}

// TestOwnFilesStay checks that files that aufs itself has left stay, except for old pseudo-links.
func TestOwnFilesStay(t *testing.T) {
	needRoot(t)
	b := newStoreWithout(t)
	dir := b.Home.Diff("layer")
	write(t, dir, files{whiteout.Base: "", whiteout.PseudoLinkDir + "/12.34": "old", whiteout.OrphanDir + "/f": ""})
	must(t, os.Link(filepath.Join(dir, whiteout.Base), filepath.Join(dir, ".wh.gone")))
	must(t, b.PrepareOwnFiles("layer"))
	sameNames(t, readTree(t, dir).Names(), whiteout.Base, whiteout.PseudoLinkDir, whiteout.OrphanDir, whiteout.OrphanDir+"/f", ".wh.gone")
}

// TestContainerMadeOwnFiles has a container on overlayfs make files under aufs's own names. Aufs must then mount the layer and show
// everything else in it. None of the files may become a whiteout, and no archive may have them.
func TestContainerMadeOwnFiles(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, place := range foreignFiles {
			t.Run(what, func(t *testing.T) { testContainerMadeOwnFiles(t, name, place) })
		}
	})
}

func testContainerMadeOwnFiles(t *testing.T, name backend.Name, place func(path string) error) {
	home := filepath.Join(t.TempDir(), "home")
	first := name
	if hasBackend(t, backend.Overlay) {
		first = backend.Overlay
	}
	s := openStore(t, home, first)
	s.create(t, "", "base", "layer")
	s.create(t, "layer", "child")
	s.apply(t, "base", "", entry{Name: "f", Content: "f"}, entry{Name: "g", Content: "g"})
	places := s.inner.Home.Diff("layer")
	if first == backend.Overlay {
		places = s.get(t, "layer")
	}
	write(t, places, files{"empty": "", "content": "c"})
	for _, own := range whiteout.OwnFileNames {
		must(t, place(filepath.Join(places, own)))
	}
	if first == backend.Overlay {
		must(t, os.Remove(filepath.Join(places, "f")))
		must(t, s.Put("layer"))
		sameNames(t, keysOf(s.diff(t, "layer", "base")), "empty", "content", ".wh.f")
	}
	must(t, s.Cleanup())

	s = openStore(t, home, name)
	// Overlayfs shows these files like others.
	own := whiteout.OwnFileNames
	if name == backend.Aufs {
		own = nil
	}
	shows := func(dir string) {
		t.Helper()
		names := slices.DeleteFunc(readTree(t, dir).Names(), func(path string) bool {
			first, _, _ := strings.Cut(path, "/")
			return slices.Contains(own, first)
		})
		sameNames(t, names, shownNames(first)...)
	}
	shows(s.get(t, "layer", "ro"))
	must(t, s.Put("layer"))
	shows(s.get(t, "child"))
	must(t, s.Put("child"))
	s.change(t, "layer", func(dir string) {
		shows(dir)
		must(t, os.Remove(filepath.Join(dir, "g")))
		must(t, os.WriteFile(filepath.Join(dir, "empty"), []byte("no longer"), 0o644))
	})
	for path, header := range s.diff(t, "layer", "base") {
		if strings.HasPrefix(path, ".wh.") && (header.Size > 0 || !header.FileInfo().Mode().IsRegular() || whiteout.IsOwnFile(path)) {
			t.Errorf("the archive has %s: %+v", path, header)
		}
	}
	s.change(t, "layer", func(dir string) {
		if _, err := os.Lstat(filepath.Join(dir, "g")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("g is back: %v", err)
		}
		content, err := os.ReadFile(filepath.Join(dir, "empty"))
		if err != nil || string(content) != "no longer" {
			t.Errorf("the file has %q, %v", content, err)
		}
	})
	noLeftovers(t, s)
}

// shownNames returns the names that the layer shows.
func shownNames(first backend.Name) []string {
	names := []string{"empty", "content", "g"}
	if first != backend.Overlay {
		names = append(names, "f")
	}
	return names
}

// TestOwnFilesOfOverlayAndAufs uses names under which both aufs and a container on overlayfs have made files.
func TestOwnFilesOfOverlayAndAufs(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "layer")
		dir := s.inner.Home.Diff("layer")
		write(t, dir, files{whiteout.Base: "", whiteout.PseudoLinkDir + "/1.2": "aufs", whiteout.OrphanDir + "/": ""})
		s.change(t, "layer", func(mnt string) {
			// The mount does not show aufs's own files any more.
			write(t, mnt, files{"empty": "", whiteout.PseudoLinkDir + "/mine": "mine", whiteout.OrphanDir: "mine"})
			must(t, os.Link(filepath.Join(mnt, "empty"), filepath.Join(mnt, whiteout.Base)))
		})
		must(t, maintenance.Convert(t.Context(), string(s.inner.Home)))
		must(t, (&backend.AufsBackend{Stores: s.inner.Stores, Forms: s.inner.Forms}).Prepare("layer"))
		for _, own := range whiteout.OwnFileNames {
			if hidden := hiddenOf(t, dir, own); len(hidden) != 1 {
				t.Errorf("%s: the container's is %q", own, hidden)
			}
		}
		if info, err := os.Lstat(filepath.Join(dir, whiteout.Base)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("aufs's whiteouts become names of %v, %v", info, err)
		}
		sameNames(t, keysOf(s.diff(t, "layer", "base")), "empty")
	})
}
