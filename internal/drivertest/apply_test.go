//go:build linux

package drivertest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
)

// TestApplyKeepsWhatIsWrittenMeanwhile has somebody write to the directory of a layer without parents, which an earlier Get returned, while
// ApplyDiff reads an archive. ApplyDiff fails, and the file stays.
func TestApplyKeepsWhatIsWrittenMeanwhile(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		dir := s.get(t, "base")
		must(t, s.Put("base"))
		written := filepath.Join(dir, "written")
		archive := &spy{bytes.NewReader(archiveBytes(t, entry{Name: "f", Content: "f"})), func() {
			must(t, os.WriteFile(written, []byte("mine"), 0o600))
		}}
		_, err := s.ApplyDiff("base", "", driver.ApplyOptions{Diff: archive})
		wants(t, err, nil, "base", "somebody has written to the layer")
		content, err := os.ReadFile(written)
		if err != nil || string(content) != "mine" {
			t.Errorf("the file has %q, %v", content, err)
		}
		sameNames(t, readTree(t, dir).Names(), "written")
	})
}

// TestFailedApplyReadsAll shows that ApplyDiff reads an archive to its end even if it cannot unpack the archive: the writer of the archive
// waits for that. The archive has entries that replace others.
func TestFailedApplyReadsAll(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		for what, begin := range map[string][]member{
			"unpacking": {linkOf("a", "missing")},
			// A link that leads nowhere takes the place of the directory for kept files.
			"keeping": {fileOf(".wh.a"), fileOf(".wh.a")},
		} {
			t.Run(what, func(t *testing.T) {
				members := begin
				for i := range 1000 {
					members = append(members, fileOf(strconv.Itoa(i)))
				}
				r := bytes.NewReader(numbered(t, append(members, fileOf("1"), fileOf("1"), fileOf("2"))...))
				archive := &spy{r, func() {
					scratches, err := filepath.Glob(filepath.Join(s.inner.Home.Tmp(), "apply-*"))
					must(t, err)
					for _, scratch := range scratches {
						if what == "keeping" {
							_ = os.Symlink(store.KeptDir, filepath.Join(scratch, store.KeptDir))
						}
					}
				}}
				_, err := s.ApplyDiff("base", "", driver.ApplyOptions{Diff: archive})
				wants(t, err, nil, "base", "unpacking the archive")
				if bytes.Contains([]byte(err.Error()), []byte(layertar.ErrCut.Error())) || r.Len() > 0 {
					t.Errorf("%v, with %d bytes left", err, r.Len())
				}
			})
		}
	})
}

// TestApplyReaderPanics has the archive's reader panic in the middle of a header, and the caller recover: no goroutines are left.
func TestApplyReaderPanics(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		content := archiveBytes(t, entry{Name: "a", Content: "a"}, entry{Name: "b", Content: "b"})
		before := runtime.NumGoroutine()
		for range 8 {
			func() {
				defer func() {
					if p := recover(); p != "of the reader" {
						t.Errorf("the panic was %v", p)
					}
				}()
				_, err := s.ApplyDiff("base", "", driver.ApplyOptions{Diff: io.MultiReader(bytes.NewReader(content[:1100]), storetest.Panicking{})})
				t.Errorf("the error is %v", err)
			}()
		}
		// The goroutines may take a moment to end.
		for range 1000 {
			if runtime.NumGoroutine() < before+8 {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Errorf("there are %d goroutines, and were %d", runtime.NumGoroutine(), before)
	})
}

// TestApplyDiffOnOneThread applies an archive in a goroutine that is locked to its thread, as callers that deal with namespaces are.
func TestApplyDiffOnOneThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := newStore(t, backend.Overlay)
	s.create(t, "", "base")
	s.apply(t, "base", "", entry{Name: "f", Content: "content"})
	sameNames(t, s.see(t, "base").Names(), "f")
}
