//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"golang.org/x/sys/unix"
)

func TestMountBatches(t *testing.T) {
	for _, c := range []struct {
		name             string
		parents, options int
		label            string
		want             []int // how many options each batch has
	}{
		{"one", 2, 2, "", []int{5}},
		{"full", 61, 2, "", []int{64}},
		{"one too many", 62, 2, "", []int{64, 1}},
		{"many", 200, 3, "", []int{64, 64, 64, 12}},
		{"with a label", 70, 2, "l:c1,c2", []int{64, 11}},
	} {
		t.Run(c.name, func(t *testing.T) {
			branches := backend.BranchesOf(stackOf(false, lowers(c.parents, 50)...), "/top")
			options := []string{"xino=/x", "dio", "udba=reval"}[:c.options]
			batches, err := aufsfs.Batches(branches, options, c.label)
			must(t, err)
			var sizes []int
			var paths []string
			for i, batch := range batches {
				sizes = append(sizes, len(batch))
				for j, o := range batch {
					if key := map[bool]string{true: "br", false: "append"}[i == 0 && j == 0]; strings.HasPrefix(o.Value, "/") && o.Key != "xino" {
						paths = append(paths, o.Value)
						if o.Key != key {
							t.Errorf("%d, %d: %s, which is to be %s", i, j, o.Key, key)
						}
					}
				}
				if labelled := slices.Contains(batch, mountutil.Option{Key: "context", Value: c.label}); labelled != (c.label != "") {
					t.Errorf("the label is in batch %d: %t", i, labelled)
				}
				for _, o := range options {
					key, value, _ := strings.Cut(o, "=")
					if there := slices.Contains(batch, mountutil.Option{Key: key, Value: value}); there != (i == 0) {
						t.Errorf("%s is in batch %d: %t", o, i, there)
					}
				}
			}
			if !slices.Equal(sizes, c.want) {
				t.Errorf("the batches have %v options, and not %v", sizes, c.want)
			}
			if got := fmt.Sprint(paths); got != fmt.Sprint(branches) {
				t.Errorf("the branches are not in order, or not all there: %s", got)
			}
		})
	}
	if _, err := aufsfs.Batches(backend.BranchesOf(backend.Stack{}, "/"+strings.Repeat("x", 252)), nil, ""); !errors.Is(err, aufsfs.ErrNotDetached) {
		t.Errorf("a path that is too long: %v", err)
	}
	if _, err := aufsfs.Batches(backend.BranchesOf(backend.Stack{}, "/a"), slices.Repeat([]string{"dio"}, aufsfs.MaxOptionsPerCall), ""); !errors.Is(err, aufsfs.ErrNotDetached) {
		t.Errorf("too many options: %v", err)
	}
}

// createStack makes the layer top on top of that many layers. Each of these has one file and an id of that length.
func (s testStore) createStack(t *testing.T, layers, length int) {
	t.Helper()
	parent := ""
	for i := range layers {
		id := fmt.Sprintf("layer%03d-", i)
		id += strings.Repeat("x", length-len(id))
		s.create(t, parent, id)
		write(t, s.inner.Home.Diff(id), files{fmt.Sprintf("f%03d", i): "x"})
		parent = id
	}
	s.create(t, parent, "top")
}

// TestNotDetached mounts a stack with names that are too long for fsopen(2). The driver does not conclude that other stacks cannot be
// mounted that way.
func TestNotDetached(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := newStore(t, backend.Aufs)
		s.createStack(t, 40, 240)
		if seen := s.see(t, "top"); len(seen) != 41 {
			t.Errorf("the mount has %d files", len(seen))
		}
		if aufs, _ := s.inner.Backend.(*backend.AufsBackend); aufs.NoDetached.Load() == aufsfs.HasContext() {
			t.Error("it is taken for what the kernel cannot do")
		}
	})
}

// TestDetachedOrStaged mounts a stack that takes several calls in both possible ways. Before Linux 5.17 there is one: see
// aufsfs.HasContext.
func TestDetachedOrStaged(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := newStore(t, backend.Aufs)
		s.createStack(t, 130, 64)
		aufs, _ := s.inner.Backend.(*backend.AufsBackend)
		for _, options := range [][]string{{"ro"}, {"nodev", "nosuid", "noexec", "noatime"}, {"ro", "nodev", "nodiratime"}} {
			dir, err := s.Get("top", driver.GetOptions{Options: options})
			must(t, err)
			mounts, err := mountutil.MountsHere(mountinfo.SingleEntryFilter(dir))
			must(t, err)
			for _, option := range options {
				if len(mounts) != 1 || !slices.Contains(strings.Split(mounts[0].Options, ","), option) {
					t.Errorf("mounted with %q, it has not %s: %+v", options, option, mounts)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); errors.Is(err, unix.EROFS) != (options[0] == "ro") {
				t.Errorf("mounted with %q: %v", options, err)
			}
			must(t, s.Put("top"))
		}
		must(t, os.Remove(filepath.Join(s.inner.Home.Diff("top"), "new")))
		detached := s.see(t, "top")
		if aufs.NoDetached.Load() == aufsfs.HasContext() {
			t.Errorf("it was mounted by fsopen(2): %t", !aufs.NoDetached.Load())
		}
		if len(detached) != 131 {
			t.Errorf("the mount has %d files", len(detached))
		}
		aufs.NoDetached.Store(true)
		sameTree(t, s.see(t, "top"), detached)
		left, err := os.ReadDir(s.inner.Home.Tmp())
		must(t, err)
		if len(left) > 0 {
			t.Errorf("tmp/ has %v", left)
		}
	})
}
