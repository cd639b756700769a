//go:build linux

package drivertest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/conversion"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// makeOther replaces what is at path by something else: a link that leads outside, and so on.
func makeOther(t *testing.T, what, path, outside string) {
	t.Helper()
	must(t, os.RemoveAll(path))
	must(t, map[string]func() error{
		"a link":        func() error { return os.Symlink(outside, path) },
		"a file's link": func() error { return os.Symlink(filepath.Join(outside, "f"), path) },
		"a pipe":        func() error { return unix.Mkfifo(path, 0o644) },
		"a device":      func() error { return unix.Mknod(path, unix.S_IFCHR, int(unix.Mkdev(1, 3))) },
		"a file":        func() error { return os.WriteFile(path, []byte("content"), 0o644) },
		"a directory": func() error {
			return errors.Join(os.Mkdir(path, 0o755), os.Symlink(outside, filepath.Join(path, "1.2")), os.Mkdir(filepath.Join(path, "d"), 0o755))
		},
	}[what]())
}

// TestOwnNamesOfOthers uses layers that have something else under each of aufs's own names, as a container on overlayfs can make it.
// Nothing that the driver does with such a layer may change a file outside of the layer, or wait for a file.
func TestOwnNamesOfOthers(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, what := range []string{"a link", "a file's link", "a pipe", "a device", "a file", "a directory"} {
			t.Run(what, func(t *testing.T) {
				s := newExchanged(t, name)
				outside := outsideTree(t)
				want := allOf(t, outside)
				for _, names := range [][]string{{".wh..wh.aufs", ".wh..wh.plnk", ".wh..wh.orph"}, {".wh..wh..opq"}} {
					for _, op := range exchangedOperations(t) {
						if op.slow {
							continue
						}
						for _, id := range []string{"base", "mid", "top"} {
							for _, own := range names {
								makeOther(t, what, filepath.Join(s.inner.Home.Diff(id), own), outside)
							}
						}
						inTime(t, func() { _ = op.do(s) })
					}
					for _, id := range []string{"base", "mid", "top"} {
						for _, own := range names {
							must(t, os.RemoveAll(filepath.Join(s.inner.Home.Diff(id), own)))
						}
					}
				}
				sameTree(t, allOf(t, outside), want)
			})
		}
	})
}

// TestPseudoLinksAreNoLink is the shortest case of TestOwnNamesOfOthers: a layer for aufs has a symbolic link in the place of its
// directory of pseudo-links.
func TestPseudoLinksAreNoLink(t *testing.T) {
	needRoot(t)
	s := newStoreWithout(t)
	outside := t.TempDir()
	write(t, outside, files{"1.2": "secret"})
	must(t, os.Symlink(outside, filepath.Join(s.Home.Diff("layer"), whiteout.PseudoLinkDir)))
	must(t, s.PrepareOwnFiles("layer"))
	links, err := aufsfs.ReadPseudoLinks(s.Home.Diff("layer"))
	if err != nil || len(links) > 0 {
		t.Errorf("%v, %v", links, err)
	}
	if _, err := os.Lstat(filepath.Join(outside, "1.2")); errors.Is(err, fs.ErrNotExist) {
		t.Error("what the link leads to is gone")
	}
}

// newStoreWithout makes an aufs backend, on a kernel that need not have aufs, and the directory of a layer.
func newStoreWithout(t *testing.T) *backend.AufsBackend {
	t.Helper()
	h := store.Home(t.TempDir())
	must(t, os.MkdirAll(h.Diff("layer"), 0o755))
	return &backend.AufsBackend{Stores: store.Stores{Home: h}, Forms: conversion.New(h, "")}
}
