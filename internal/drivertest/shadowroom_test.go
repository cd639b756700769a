//go:build linux && (amd64 || arm64)

package drivertest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// TestFullDiskMakesShadowsElsewhere mounts layers of a store on a full disk, with an empty cache.
func TestFullDiskMakesShadowsElsewhere(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		disk := newDisk(t).dir
		o := configFor(name)
		o.RunRoot = t.TempDir()
		d, err := driver.Open(filepath.Join(disk, "home"), o)
		must(t, err)
		s := testStore{Driver: d, inner: d, backend: name}
		h := s.inner.Home
		s.create(t, "", "base", "middle", "opaque", "top")
		s.apply(t, "base", "", entry{Name: "gone"}, entry{Name: "kept"}, entry{Name: "d/x"})
		s.apply(t, "middle", "base", entry{Name: ".wh.gone"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/y"})
		s.apply(t, "opaque", "middle", entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/z"})
		want := []string{"kept", "d", "d/z"}
		// This mount makes everything that later mounts need. Its shadows are then deleted.
		sameNames(t, s.see(t, "top", "ro").Names(), want...)
		must(t, os.RemoveAll(h.Overlay(store.KnownDir)))
		must(t, os.RemoveAll(h.Overlay(store.ShadowDir)))
		filler := fill(t, disk)
		for range 2 {
			sameNames(t, s.see(t, "top", "ro").Names(), want...)
		}
		if made, err := os.ReadDir(s.inner.Shadows.Elsewhere); err != nil || len(made) != 2 {
			t.Errorf("elsewhere there are %v, %v", made, err)
		}
		must(t, os.Remove(filler))
		for _, options := range [][]string{{"ro"}, nil} {
			sameNames(t, s.see(t, "top", options...).Names(), want...)
		}
		must(t, s.Cleanup())
	})
}

// TestConvertOnAFullDisk converts a layer with marks in many directories while the disk has no room for other marks.
func TestConvertOnAFullDisk(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		disk := newDisk(t).dir
		s := openStore(t, filepath.Join(disk, "home"), backend.Overlay)
		h := s.inner.Home
		s.create(t, "", "base", "child", "top")
		f := files{}
		for n := range 200 {
			f[fmt.Sprintf("d%03d/f", n)], f[fmt.Sprintf("d%03d/g", n)], f[fmt.Sprintf("o%03d/f", n)] = "f", "g", "h"
		}
		write(t, h.Diff("base"), f)
		s.change(t, "child", func(dir string) {
			for n := range 200 {
				must(t, os.Remove(filepath.Join(dir, fmt.Sprintf("d%03d/f", n))))
				must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("o%03d", n))))
				write(t, dir, files{fmt.Sprintf("o%03d/", n): ""})
			}
		})
		want := s.see(t, "top", "ro")
		s.see(t, "child", "ro")
		filler := fill(t, disk)
		for range 2 {
			if err := maintenance.Convert(t.Context(), string(h)); err != nil {
				wants(t, err, unix.ENOSPC)
			}
			sameNames(t, s.changes(t, "top", "child"))
		}
		must(t, os.Remove(filler))
		sameTree(t, s.see(t, "top", "ro"), want)
		sameTree(t, s.see(t, "child"), want)
		must(t, maintenance.Convert(t.Context(), string(h)))
		s.hasForm(t, "child", whiteout.AufsForm)
		sameTree(t, s.see(t, "top", "ro"), want)
		noLeftovers(t, s)
	})
}
