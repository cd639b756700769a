//go:build linux

package drivertest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"golang.org/x/sys/unix"
)

// TestQuotaOfOptions checks which layers get which limits.
func TestQuotaOfOptions(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name, withLimits(quota.Limits{Bytes: 1 << 20, Inodes: 100}))
		create := func(id string, options ...string) string {
			s.limited(t, id, options...)
			return id
		}
		must(t, s.CreateReadWrite("nil", "middle", nil))
		must(t, s.CreateReadWrite("base-too", "", nil))
		must(t, s.CreateFromTemplate("template", "middle", layerOptions("Size=2m"), true))
		for id, want := range map[string]quota.Limits{
			"nil": {Bytes: 1 << 20, Inodes: 100}, "base-too": {Bytes: 1 << 20, Inodes: 100}, "template": {Bytes: 2 << 20, Inodes: 100},
			create("none"):                        {Bytes: 1 << 20, Inodes: 100},
			create("size", "size=3M"):             {Bytes: 3 << 20, Inodes: 100},
			create("inodes", "inodes=7"):          {Bytes: 1 << 20, Inodes: 7},
			create("no-size", "size=0"):           {Inodes: 100},
			create("both", "SIZE=1k", "inodes=9"): {Bytes: 4 << 10, Inodes: 9},
		} {
			if got, used := s.quotaOf(t, id); got.Inodes != want.Inodes || got.Bytes > want.Bytes || got.Bytes == 0 != (want.Bytes == 0) || used.Inodes != 1 {
				t.Errorf("%s has %+v and not %+v, and takes %+v", id, got, want, used)
			}
		}
		create("without", "size=0", "inodes=0")
		for _, id := range []string{"base", "middle", "without"} {
			if p, err := s.project(id); err != nil || p != 0 {
				t.Errorf("%s has project %d, %v", id, p, err)
			}
		}
	})
}

// TestQuotaBadOptions checks that a layer with an option that the driver does not take is not made.
func TestQuotaBadOptions(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		before := readTree(t, string(s.inner.Home))
		for option, words := range map[string][]string{
			"size=10Q": {"no size"}, "size=-1": {"no size"}, "size=": {"no size"}, "size=9000p": {"too large"}, "inodes=1k": {"no number"},
			"inodes=-1": {"no number"}, "color=red": {"only the options size and inodes"},
		} {
			wants(t, s.CreateReadWrite("new", "middle", layerOptions("inodes=7", option)), nil, append(words, "layer new", strings.TrimPrefix(option, "inodes="))...)
		}
		for _, create := range []func(*driver.CreateOptions) error{
			func(o *driver.CreateOptions) error { return s.Create("new", "middle", o) },
			func(o *driver.CreateOptions) error { return s.CreateFromTemplate("new", "middle", o, false) },
		} {
			wants(t, create(layerOptions("size=1G")), nil, "layer new", "size=1G", "mounted writable")
			wants(t, create(layerOptions("color=red")), nil, "layer new", "color=red", "mounted writable")
		}
		sameTree(t, readTree(t, string(s.inner.Home)), before)
		noLeftovers(t, s)
	})
}

// TestQuotaUnsupported asks for quotas where there are none.
func TestQuotaUnsupported(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		tmpfs := t.TempDir()
		must(t, unix.Mount("none", tmpfs, "tmpfs", 0, ""))
		t.Cleanup(func() { must(t, unix.Unmount(tmpfs, 0)) })
		home := filepath.Join(tmpfs, "home")
		_, err := reopen(home, name, withLimits(quota.Limits{Bytes: 1 << 30, Inodes: 5}))
		wants(t, err, store.ErrPrerequisites, "size=1073741824", "inodes=5", filepath.Join(home, "diff"), "tmpfs", "prjquota")
		if _, err := os.Lstat(home); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", home, err)
		}
		s := openStore(t, home, name)
		threeLayers(t, s)
		wants(t, s.CreateReadWrite("new", "middle", layerOptions("size=1M")), nil, "layer new", "size=1048576", filepath.Join(home, "diff"), "tmpfs", "prjquota")
		must(t, s.CreateReadWrite("new", "middle", layerOptions("size=0")))
		must(t, s.Remove("new"))
		noLeftovers(t, s)
	})
}

// TestQuotaWithoutRights asks for a quota that this process may not set.
func TestQuotaWithoutRights(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			err := storetest.DropCapability(unix.CAP_SYS_ADMIN)
			if err == nil {
				err = s.CreateReadWrite("new", "middle", layerOptions("inodes=10"))
			}
			done <- err
		}()
		wants(t, <-done, unix.EPERM, "layer new", "inodes=10", "CAP_SYS_ADMIN")
		noLeftovers(t, s)
	})
}

// TestQuotaInProject has a store whose directories all have a project already. Its layers can have no others, and keep that one.
func TestQuotaInProject(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		const theirs = quota.Project(77)
		home := filepath.Join(storetest.QuotaDir(t), "home")
		must(t, os.Mkdir(home, 0o700))
		must(t, theirs.Give(home))
		must(t, theirs.SetLimits(home, quota.Limits{Inodes: 5000}))
		_, err := reopen(home, name, withLimits(quota.Limits{Bytes: 1 << 20}))
		wants(t, err, quota.ErrInProject, "size=1048576", "77", "chattr")
		s := openStore(t, home, name)
		threeLayers(t, s)
		wants(t, s.CreateReadWrite("new", "middle", layerOptions("size=1M")), quota.ErrInProject, "layer new", "size=1048576", "77", "chattr")
		s.change(t, "child", func(dir string) { write(t, dir, files{"f": "f"}) })
		must(t, s.Remove("child"))
		if l, err := theirs.Limits(home); err != nil || l.Inodes != 5000 {
			t.Errorf("the limits are %+v, %v", l, err)
		}
		noLeftovers(t, s)
	})
}
