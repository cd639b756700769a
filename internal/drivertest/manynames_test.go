//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
)

// namesVariable is the environment variable that says how many files TestManyNames makes in one directory.
const namesVariable = "AUFS_TEST_NAMES"

// bytesPerName is the most memory that an operation may take for each name in a directory.
const bytesPerName = 1500

// TestManyNames uses a directory with very many files. No operation may take more than bytesPerName of memory for each file.
func TestManyNames(t *testing.T) {
	names := 5000
	if text := os.Getenv(namesVariable); text != "" {
		var err error
		names, err = strconv.Atoi(text)
		must(t, err)
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child", "top")
		write(t, s.inner.Home.Diff("base"), files{"gone": "", "d/old": ""})
		dir := s.get(t, "child")
		must(t, os.Remove(filepath.Join(dir, "gone")))
		parent, err := fsutil.OpenDir(dir, "d")
		must(t, err)
		defer parent.Close()
		for i := range names {
			must(t, os.WriteFile(fsutil.Within(parent, fmt.Sprintf("a-name-of-a-common-length-%d", i)), nil, 0o644))
		}
		must(t, parent.Close())
		defer debug.SetGCPercent(debug.SetGCPercent(20))
		for _, step := range []struct {
			what string
			run  func() error
		}{
			{"Put", func() error { return s.Put("child") }},
			{"ReadWriteDiskUsage", func() error { _, err := s.ReadWriteDiskUsage("child"); return err }},
			{"Changes", func() error {
				changes, err := s.Changes("child", nil, "base", nil)
				// These are the directory, its files, and the deleted file.
				if want := names + 2; err == nil && len(changes) != want {
					err = fmt.Errorf("%d changes, not %d", len(changes), want)
				}
				return err
			}},
			{"Diff", func() error {
				packed, err := s.Diff("child", nil, "base", nil)
				if err != nil {
					return err
				}
				return drain(packed)
			}},
			{"Get", func() error { _, err := s.Get("top", driver.GetOptions{}); return err }},
			{"Put of a child", func() error { return s.Put("top") }},
			{"Check", func() error { _, err := maintenance.Check(t.Context(), string(s.inner.Home)); return err }},
			{"Remove", func() error { return errors.Join(s.Remove("top"), s.Remove("child")) }},
		} {
			start := time.Now()
			var err error
			peak := peakOf(func() { err = step.run() })
			if err != nil {
				t.Fatalf("%s: %v", step.what, err)
			}
			per := peak / uint64(names)
			t.Logf("%s of %d names: %d bytes each, %v", step.what, names, per, time.Since(start).Round(time.Millisecond))
			if per > bytesPerName {
				t.Errorf("%s takes %d bytes for each name", step.what, per)
			}
		}
		noLeftovers(t, s)
	})
}

// peakOf returns by how many bytes the heap grows at most while run runs, as far as frequent samples show.
func peakOf(run func()) uint64 {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	before := heap()
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		most := before
		for {
			select {
			case <-stop:
				peak <- max(most, heap()) - before
				return
			case <-time.After(5 * time.Millisecond):
				most = max(most, heap())
			}
		}
	}()
	run()
	close(stop)
	return <-peak
}
