//go:build linux

package quota_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"golang.org/x/sys/unix"
)

func TestQuotaLimits(t *testing.T) {
	for value, want := range map[string]uint64{
		"0": 0, "1": 1, "4096": 4096, "32b": 32, "1k": 1 << 10, "1K": 1 << 10, "1kb": 1 << 10, "1 KiB": 1 << 10, "1.5m": 3 << 19, "2G": 2 << 30,
		"2GB": 2 << 30, "3t": 3 << 40, "1p": 1 << 50, ".5g": 1 << 29, "7.": 7, "0.5": 1,
	} {
		var l quota.Limits
		if known, err := l.Set("size", value); !known || err != nil || l != (quota.Limits{Bytes: want}) {
			t.Errorf("size=%s: %+v, %v", value, l, err)
		}
	}
	for _, value := range []string{
		"", " ", "-1", "+1", "10Q", "1e3", "0x10", "inf", "NaN", "1_000", "1..2", "1  k", "1k ", " 1k", "kb", "1kib2", "1ki", "1bb", "8192p", "99999999999999999999",
	} {
		if known, err := new(quota.Limits).Set("size", value); !known || err == nil {
			t.Errorf("size=%s: %v", value, err)
		}
	}
	var l quota.Limits
	if known, err := l.Set("inodes", "1000"); !known || err != nil || l != (quota.Limits{Inodes: 1000}) {
		t.Errorf("%+v, %v", l, err)
	}
	for _, value := range []string{"", "-1", "1k", "1.5", "99999999999999999999"} {
		if known, err := l.Set("inodes", value); !known || err == nil {
			t.Errorf("inodes=%s: %v", value, err)
		}
	}
	if known, err := l.Set("color", "red"); known || err != nil {
		t.Error(known, err)
	}
}

func TestQuotaLeaving(t *testing.T) {
	room, used := quota.Limits{Bytes: 1000, Inodes: 10}, quota.Usage{Bytes: 500, Inodes: 5}
	for l, want := range map[quota.Limits]quota.Limits{
		{}:                          {},
		{Bytes: 500}:                {Bytes: 1500},
		{Bytes: 1}:                  {Bytes: 1001},
		{Inodes: 1}:                 {Inodes: 11},
		{Bytes: 1499, Inodes: 16}:   {Bytes: 1500, Inodes: 16},
		{Bytes: 1500, Inodes: 15}:   {Bytes: 1500, Inodes: 15},
		{Bytes: 2000, Inodes: 1000}: {Bytes: 2000, Inodes: 1000},
	} {
		if got := l.Leaving(room, used); got != want {
			t.Errorf("%+v became %+v and not %+v", l, got, want)
		}
	}
}

// TestQuotaProjects makes projects, and looks at what the file system says of them.
func TestQuotaProjects(t *testing.T) {
	home := storetest.QuotaDir(t)
	storetest.Must(t, quota.Check(home))
	seen := map[quota.Project]bool{}
	for _, name := range []string{"a", "b", "c"} {
		dir := filepath.Join(home, name)
		storetest.Must(t, os.Mkdir(dir, 0o700))
		p, err := quota.New(dir, quota.Limits{Bytes: 1<<20 + 1, Inodes: 3})
		storetest.Must(t, err)
		if of, err := quota.Of(dir); err != nil || of != p || seen[p] {
			t.Errorf("%s has %d and not a new %d: %v", name, of, p, err)
		}
		seen[p] = true
		// Limits are rounded up.
		if l, err := p.Limits(home); err != nil || l.Inodes != 3 || l.Bytes <= 1<<20 || l.Bytes > 1<<20+4096 {
			t.Errorf("%s has the limits %+v, %v", name, l, err)
		}
		storetest.Must(t, os.Mkdir(filepath.Join(dir, "in"), 0o700))
		if in, err := quota.Of(filepath.Join(dir, "in")); err != nil || in != p {
			t.Errorf("%s/in has %d, %v", name, in, err)
		}
		if u, err := p.Usage(home); err != nil || u.Inodes != 2 {
			t.Errorf("%s takes %+v, %v", name, u, err)
		}
		storetest.Must(t, p.SetLimits(home, quota.Limits{}))
		if l, err := p.Limits(home); err != nil || l != (quota.Limits{}) {
			t.Errorf("%s has the limits %+v, %v", name, l, err)
		}
	}
	err := os.Rename(filepath.Join(home, "a/in"), filepath.Join(home, "b/other"))
	storetest.Wants(t, err, unix.EXDEV)
}

// TestQuotaNumbers takes numbers that another directory has, or that have limits from before.
func TestQuotaNumbers(t *testing.T) {
	home := storetest.QuotaDir(t)
	other, dir := filepath.Join(home, "other"), filepath.Join(home, "dir")
	storetest.Must(t, errors.Join(os.Mkdir(other, 0o700), os.Mkdir(dir, 0o700)))
	take := func(what string, p quota.Project, limited, want bool) {
		t.Helper()
		if got, err := p.Take(dir, limited); err != nil || got != want {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	p, err := quota.New(other, quota.Limits{Inodes: 5})
	storetest.Must(t, err)
	take("a number with a file", p, true, false)
	// As a container can.
	storetest.Must(t, quota.Project(7).Give(other))
	take("a number with limits", p, false, false)
	take("a number with limits, when there is no other", p, true, true)
	storetest.Must(t, quota.Project(7).Give(dir))
	storetest.Must(t, p.SetLimits(home, quota.Limits{}))
	take("a free number", p, false, true)
}

// TestQuotaAllTaken gives a few numbers to files, as a container can do with all of them.
func TestQuotaAllTaken(t *testing.T) {
	home := storetest.QuotaDir(t)
	const numbers = 3
	last := quota.FirstProject + numbers - 1
	made := func(name string) (quota.Project, error) {
		dir := filepath.Join(home, name)
		storetest.Must(t, os.Mkdir(dir, 0o700))
		return quota.NewOf(dir, quota.Limits{Inodes: 5}, numbers)
	}
	for n := range numbers {
		name := fmt.Sprint("theirs", n)
		storetest.Must(t, os.Mkdir(filepath.Join(home, name), 0o700))
		storetest.Must(t, (quota.FirstProject + quota.Project(n)).Give(filepath.Join(home, name)))
	}
	seen := map[quota.Project]bool{}
	for _, name := range []string{"a", "b"} {
		p, err := made(name)
		if err != nil || p == 0 || p >= quota.FirstProject && p <= quota.LastProject || seen[p] {
			t.Errorf("%s has project %d, %v", name, p, err)
		}
		seen[p] = true
		if l, err := p.Limits(home); err != nil || l.Inodes != 5 {
			t.Errorf("%s has the limits %+v, %v", name, l, err)
		}
		storetest.Must(t, p.SetLimits(home, quota.Limits{}))
	}
	storetest.Must(t, quota.Project(7).Give(filepath.Join(home, "theirs1")))
	if p, err := made("c"); err != nil || p < quota.FirstProject || p > last {
		t.Errorf("there was a number, and project %d was taken: %v", p, err)
	} else {
		storetest.Must(t, p.SetLimits(home, quota.Limits{}))
	}
}

// TestQuotaCheck checks that the reasons why there are no quotas can be told apart.
func TestQuotaCheck(t *testing.T) {
	storetest.NeedRoot(t)
	home := storetest.QuotaDir(t)
	tmpfs := t.TempDir()
	storetest.Must(t, unix.Mount("none", tmpfs, "tmpfs", 0, ""))
	defer func() { storetest.Must(t, unix.Unmount(tmpfs, 0)) }()
	if err := quota.Check(tmpfs); !quota.NotSupported(err) {
		t.Errorf("tmpfs: %v", err)
	}
	if err := quota.Check(filepath.Join(home, "missing")); !errors.Is(err, os.ErrNotExist) || quota.NotSupported(err) {
		t.Error(err)
	}
	taken := filepath.Join(home, "taken")
	storetest.Must(t, os.Mkdir(taken, 0o700))
	storetest.Must(t, quota.Project(7).Give(taken))
	storetest.Wants(t, quota.Check(taken), quota.ErrInProject, "7")
	done := make(chan error)
	go func() {
		// The thread ends with the goroutine.
		runtime.LockOSThread()
		if err := storetest.DropCapability(unix.CAP_SYS_ADMIN); err != nil {
			done <- err
			return
		}
		done <- quota.Check(home)
	}()
	if err := <-done; !errors.Is(err, unix.EPERM) || quota.NotSupported(err) {
		t.Error(err)
	}
}
