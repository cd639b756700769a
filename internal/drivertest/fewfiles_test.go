//go:build linux

package drivertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"golang.org/x/sys/unix"
)

// manyLayers is too many for a process with the limit fewFiles to have an open file for each layer.
const (
	manyLayers = 150
	fewFiles   = 128
)

// TestFewOpenFiles begins operations on many layers, and only then finishes them, in a process that cannot open as many files.
func TestFewOpenFiles(t *testing.T) {
	works := map[string]func(*testing.T, testStore){"DeferredRemove": removeMany, "ApplyDiffWithDiffer": stageMany, "Init": sweepMany}
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 3 {
		s, err := reopen(args[0], backend.Name(args[1]))
		must(t, err)
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: fewFiles, Max: fewFiles}))
		works[args[2]](t, s)
		must(t, s.Cleanup())
		return
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for work := range works {
			t.Run(work, func(t *testing.T) {
				s := newStore(t, name)
				for n := range manyLayers {
					// Make the layers as Create does, but not durable.
					write(t, string(s.inner.Home), files{fmt.Sprintf("layers/layer%d", n): "", fmt.Sprintf("diff/layer%d/f", n): "f", fmt.Sprintf("mnt/layer%d/", n): ""})
				}
				c := exec.Command("/proc/self/exe", "-test.run=^TestFewOpenFiles$", "-test.v")
				c.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%s", childVariable, s.inner.Home, name, work))
				if out, err := c.CombinedOutput(); err != nil || strings.Contains(string(out), "too many") {
					t.Fatalf("%v\n%s", err, out)
				}
				noLeftovers(t, s)
			})
		}
	})
}

// removeMany removes all layers before it deletes the files of any.
func removeMany(t *testing.T, s testStore) {
	t.Helper()
	cleans := make([]func() error, manyLayers)
	for n := range cleans {
		var err error
		cleans[n], err = s.DeferredRemove(fmt.Sprintf("layer%d", n))
		must(t, err)
	}
	found, err := filepath.Glob(filepath.Join(s.inner.Home.Tmp(), "trash-*", "*", "*", "f"))
	if err != nil || len(found) != manyLayers {
		t.Errorf("%d layers are in the trash, %v", len(found), err)
	}
	for _, clean := range cleans {
		must(t, clean())
	}
}

// stageMany fills a staging directory for each layer before it applies any of them.
func stageMany(t *testing.T, s testStore) {
	t.Helper()
	for n := range manyLayers {
		must(t, os.Remove(filepath.Join(s.inner.Home.Diff(fmt.Sprintf("layer%d", n)), "f")))
	}
	staged := make([]func(id string) error, manyLayers)
	for n := range staged {
		out := s.stage(t, filling{content: archiveBytes(t, entry{Name: "staged"})})
		staged[n] = func(id string) error { return s.ApplyStaged(id, "", out, false) }
	}
	for n, apply := range staged {
		id := fmt.Sprintf("layer%d", n)
		must(t, apply(id))
		sameNames(t, readTree(t, s.inner.Home.Diff(id)).Names(), "staged")
	}
}

// sweepMany runs Init after a crash that has left manyLayers of everything.
func sweepMany(t *testing.T, s testStore) {
	t.Helper()
	for n := range manyLayers {
		must(t, os.Remove(s.inner.Home.Layers(fmt.Sprintf("layer%d", n))))
		write(t, s.inner.Home.Tmp(), files{fmt.Sprintf("trash-%d/1/1/f", n): "f"})
	}
	other, err := reopen(string(s.inner.Home), s.backend)
	must(t, err)
	must(t, other.Cleanup())
}
