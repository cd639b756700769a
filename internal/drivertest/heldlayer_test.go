//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// TestHeldLayer has a layer removed, or filled with other content, while somebody reads it.
func TestHeldLayer(t *testing.T) {
	s := newStore(t, backend.Overlay)
	s.create(t, "", "base", "child")
	s.apply(t, "base", "", entry{Name: "f", Content: "f"})
	for what, c := range map[string]struct {
		do   func()
		want error // what Reading returns; nil stands for the error of the function that it calls
	}{
		"nothing":       {func() {}, nil},
		"a file":        {func() { must(t, os.RemoveAll(filepath.Join(s.inner.Home.Diff("base"), "f"))) }, nil},
		"removed":       {func() { must(t, s.Remove("child")) }, store.ErrLayerUnknown},
		"removed again": {func() { must(t, s.Remove("child")); s.create(t, "base", "child") }, layerdiff.ErrReplaced},
		"applied":       {func() { s.apply(t, "child", "base", entry{Name: "g", Content: "g"}) }, layerdiff.ErrReplaced},
		"its directory": {func() { must(t, os.RemoveAll(s.inner.Home.Diff("child"))) }, fs.ErrNotExist},
	} {
		t.Run(what, func(t *testing.T) {
			for _, missed := range []error{nil, fs.ErrNotExist} {
				if !s.Exists("child") {
					s.create(t, "base", "child")
				}
				err := layerdiff.Reading(s.inner.Stores.Own("child"), func() error { c.do(); return missed })
				if c.want != nil {
					wants(t, err, c.want)
					must(t, s.Remove("child"))
				} else if !errors.Is(err, missed) {
					t.Errorf("%v, and not %v", err, missed)
				}
			}
		})
	}
}

// TestReadersOfARemovedLayer removes a layer while each kind of reader reads it. A reader gets everything, or an error that names the
// layer.
func TestReadersOfARemovedLayer(t *testing.T) {
	const most = 200
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		for what, read := range map[string]func() (int, error){
			"Changes":  func() (int, error) { c, err := s.Changes("child", nil, "base", nil); return len(c), err },
			"DiffSize": func() (int, error) { n, err := s.DiffSize("child", nil, "base", nil); return int(n), err },
			"usage": func() (int, error) {
				u, err := s.ReadWriteDiskUsage("child")
				if err != nil {
					return 0, err
				}
				return int(u.Size), nil
			},
			"Diff": func() (int, error) {
				r, err := s.Diff("child", nil, "base", nil)
				if err != nil {
					return 0, err
				}
				defer r.Close()
				content, err := io.ReadAll(r)
				return strings.Count(string(content), "/file"), err
			},
		} {
			t.Run(what, func(t *testing.T) {
				for range 3 {
					s.create(t, "base", "child")
					want := map[string]int{"Changes": most * 2, "DiffSize": most, "usage": most, "Diff": most}[what]
					content := files{}
					for i := range most {
						content[fmt.Sprintf("%03d/file", i)] = "x"
					}
					write(t, s.inner.Home.Diff("child"), content)
					removed := make(chan error)
					go func() { removed <- s.Remove("child") }()
					for {
						n, err := read()
						if err != nil {
							wants(t, err, nil, "child")
							break
						}
						if n != want {
							t.Errorf("it has found %d of %d", n, want)
						}
					}
					must(t, <-removed)
				}
			})
		}
	})
}

// TestDiffOfARemovedLayer removes a layer after a part of its archive was read.
func TestDiffOfARemovedLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		dir := s.inner.Home.Diff("child")
		for i := range 300 {
			write(t, dir, files{fmt.Sprintf("%03d/file", i): strings.Repeat("x", 4096)})
		}
		r, err := s.Diff("child", nil, "base", nil)
		must(t, err)
		_, err = io.ReadFull(r, make([]byte, 512))
		must(t, err)
		getter, err := s.inner.DiffGetter("child")
		must(t, err)
		must(t, s.Remove("child"))
		if err := drain(r); err == nil || !strings.Contains(err.Error(), "child") {
			t.Errorf("the rest of the archive: %v", err)
		}
		_, err = getter.Get("000/file")
		wants(t, err, store.ErrLayerUnknown, "child")
		must(t, getter.Close())
	})
}
