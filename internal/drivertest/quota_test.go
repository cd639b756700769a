//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/layerquota"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"golang.org/x/sys/unix"
)

// newQuotaStore makes a driver on a store in which layers can have quotas. It has the layers of threeLayers.
func newQuotaStore(t *testing.T, name backend.Name, more ...func(*driver.Config)) testStore {
	t.Helper()
	s := openStore(t, filepath.Join(storetest.QuotaDir(t), "home"), name, more...)
	threeLayers(t, s)
	return s
}

func withLimits(l quota.Limits) func(*driver.Config) { return func(c *driver.Config) { c.Limits = l } }

// limited makes the layer id, with these options, on top of middle.
func (s testStore) limited(t *testing.T, id string, options ...string) {
	t.Helper()
	must(t, s.CreateReadWrite(id, "middle", layerOptions(options...)))
}

// layerOptions returns the options of a layer, each of the form key=value.
func layerOptions(options ...string) *driver.CreateOptions {
	all := map[string]string{}
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		all[key] = value
	}
	return &driver.CreateOptions{StorageOpt: all}
}

// project returns the project of the layer id, or 0.
func (s testStore) project(id string) (quota.Project, error) {
	q, err := layerquota.Of(s.inner.Home, id)
	return q.Project, err
}

// quotaOf returns the limits and the usage of the layer id, which has to have a project of its own.
func (s testStore) quotaOf(t *testing.T, id string) (quota.Limits, quota.Usage) {
	t.Helper()
	p, err := s.project(id)
	must(t, err)
	if p == 0 {
		t.Fatalf("layer %s has no project", id)
	}
	l, err := p.Limits(string(s.inner.Home))
	must(t, err)
	u, err := p.Usage(string(s.inner.Home))
	must(t, err)
	return l, u
}

// asContainer calls f without the capability that lifts limits on some file systems. Containers do not have it by default.
func asContainer(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		// The thread loses a capability, so it must end with the goroutine.
		runtime.LockOSThread()
		err := storetest.DropCapability(unix.CAP_SYS_RESOURCE)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// writeUntilFull writes new files of 64 kB to dir until there is an error, which has to be that of a quota. It returns how many bytes it
// wrote.
func writeUntilFull(t *testing.T, dir string) (written int) {
	t.Helper()
	err := asContainer(t, func() error {
		for range 1000 {
			f, err := os.CreateTemp(dir, "full-")
			if err != nil {
				return err
			}
			n, err := f.Write(make([]byte, 1<<16))
			written += n
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
		t.Errorf("after %d bytes: %v", written, err)
	}
	return written
}

// removeFull removes one of the files of writeUntilFull.
func removeFull(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "full-*"))
	must(t, err)
	must(t, asContainer(t, func() error { return os.Remove(files[0]) }))
}

// whenFreed calls try until it returns no error, for ten seconds: xfs frees what removed files took in the background.
func whenFreed(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for range 200 {
		if err = try(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error(err)
}

// writeAgain writes a file of 32 kB, for which files were removed.
func writeAgain(t *testing.T, path string) {
	t.Helper()
	whenFreed(t, func() error {
		return asContainer(t, func() error { return os.WriteFile(path, make([]byte, 1<<15), 0o600) })
	})
}

// waitForRoom waits until the layer id, whose files were removed, takes less than size bytes.
func (s testStore) waitForRoom(t *testing.T, id string, size uint64) {
	t.Helper()
	whenFreed(t, func() error {
		if _, used := s.quotaOf(t, id); used.Bytes >= size {
			return fmt.Errorf("layer %s still takes %d bytes", id, used.Bytes)
		}
		return nil
	})
}

// TestQuotaSize fills a layer, makes room in it, and mounts it again while it is full.
func TestQuotaSize(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		s.limited(t, "limited", "size=2M")
		s.limited(t, "free")
		dir := s.get(t, "limited")
		// This is what df shows in the container. With aufs it is the size of the whole disk, because aufs asks the file system about the root
		// of the branch's mount.
		var st unix.Statfs_t
		must(t, unix.Statfs(dir, &st))
		if size := int64(st.Blocks) * st.Bsize; size != 2<<20 && name == backend.Overlay {
			t.Errorf("the container sees a disk of %d bytes", size)
		}
		if written := writeUntilFull(t, dir); written < 3<<19 || written > 2<<20 {
			t.Errorf("there is room for %d bytes", written)
		}
		must(t, s.Put("limited"))
		dir = s.get(t, "limited")
		removeFull(t, dir)
		removeFull(t, dir)
		writeAgain(t, filepath.Join(dir, "again"))
		must(t, s.Put("limited"))
		dir = s.get(t, "free")
		must(t, os.WriteFile(filepath.Join(dir, "large"), make([]byte, 3<<20), 0o600))
		must(t, s.Put("free"))
		must(t, errors.Join(s.Remove("limited"), s.Remove("free")))
		noLeftovers(t, s)
	})
}

func TestQuotaInodes(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		s.limited(t, "limited", "inodes=40")
		dir := s.get(t, "limited")
		made := 0
		err := asContainer(t, func() error {
			for ; made < 100; made++ {
				if err := os.Mkdir(filepath.Join(dir, fmt.Sprint(made)), 0o700); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) || made < 30 || made > 40 {
			t.Errorf("after %d directories: %v", made, err)
		}
		must(t, s.Put("limited"))
	})
}

// TestQuotaMoves moves files between the directories of a layer with a quota, in all the ways that could leave its project.
func TestQuotaMoves(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		s.limited(t, "limited", "size=4M", "inodes=1000")
		s.limited(t, "free")
		for _, id := range []string{"limited", "free"} {
			s.change(t, id, func(dir string) {
				in := func(name string) string { return filepath.Join(dir, name) }
				write(t, dir, files{"own/f": "own", "own/d/g": "g"})
				must(t, os.Rename(in("f"), in("own/d/moved")))
				must(t, os.Rename(in("own/d"), in("own-d")))
				must(t, os.Rename(in("own-d/g"), in("d/g")))
				must(t, os.Link(in("d/g"), in("e/linked")))
				must(t, os.Remove(in("new")))
				must(t, os.RemoveAll(in("x")))
				write(t, dir, files{"x/again": "again"})
				writeThrough(t, in("d/h"), "changed")
				must(t, os.Symlink("h", in("d/symlink")))
				must(t, os.Rename(in("d/symlink"), in("own/symlink")))
			})
			s.change(t, id, func(dir string) { must(t, os.Rename(filepath.Join(dir, "d/h"), filepath.Join(dir, "h"))) })
		}
		sameNames(t, s.see(t, "limited").Names(), s.see(t, "free").Names()...)
		for path := range readTree(t, s.inner.Home.Diff("limited")) {
			at := filepath.Join(s.inner.Home.Diff("limited"), path)
			if info, err := os.Lstat(at); err != nil || !info.IsDir() {
				continue
			}
			p, err := quota.Of(at)
			if want, werr := s.project("limited"); err != nil || werr != nil || p != want {
				t.Errorf("%s has the project %d and not %d: %v, %v", path, p, want, err, werr)
			}
		}
	})
}

// TestQuotaUsage compares what ReadWriteDiskUsage says of a layer with a quota to what it says of the same one without.
func TestQuotaUsage(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		s.limited(t, "limited", "size=10M")
		s.limited(t, "free")
		const n, size = 50, 9000
		for _, id := range []string{"limited", "free"} {
			s.change(t, id, func(dir string) {
				for i := range n {
					must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, size), 0o600))
				}
			})
		}
		got, err := s.ReadWriteDiskUsage("limited")
		must(t, err)
		walked, err := s.ReadWriteDiskUsage("free")
		must(t, err)
		// The quota has whole blocks, and the directories and files of the backend as well.
		if got.Size < walked.Size || got.Size > walked.Size+(n+20)*4096 || got.Inodes < walked.Inodes || got.Inodes > walked.Inodes+10 {
			t.Errorf("the quota says %+v, and the walk %+v", got, walked)
		}
		if _, used := s.quotaOf(t, "limited"); int64(used.Bytes) != got.Size || int64(used.Inodes) != got.Inodes {
			t.Errorf("%+v is not %+v", got, used)
		}
	})
}

// TestQuotaRemove checks that nothing of a quota stays when its layer goes, in whichever way it goes.
func TestQuotaRemove(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		for what, remove := range map[string]func() error{
			"removed":  func() error { return s.Remove("new") },
			"deferred": func() error { clean, err := s.DeferredRemove("new"); return errors.Join(err, clean()) },
			"swept": func() error {
				// As if Create had been interrupted.
				if err := os.Remove(s.inner.Home.Layers("new")); err != nil {
					return err
				}
				_, err := reopen(string(s.inner.Home), name)
				return err
			},
			"swept by Create": func() error {
				if err := os.Remove(s.inner.Home.Layers("new")); err != nil {
					return err
				}
				return errors.Join(s.Create("new", "", nil), s.Remove("new"))
			},
		} {
			t.Run(what, func(t *testing.T) {
				s.limited(t, "new", "size=1M", "inodes=100")
				s.change(t, "new", func(dir string) { write(t, dir, files{"mine/f": "mine"}) })
				p, err := s.project("new")
				must(t, err)
				must(t, remove())
				if l, err := p.Limits(string(s.inner.Home)); err != nil || l != (quota.Limits{}) {
					t.Errorf("project %d has the limits %+v, %v", p, l, err)
				}
				noLeftovers(t, s)
			})
		}
	})
}

// limitedProjects returns how many projects have limits on the file system of home.
func limitedProjects(t *testing.T, home string) (n int) {
	t.Helper()
	dir, err := os.Open(home)
	must(t, err)
	defer dir.Close()
	for p := quota.FirstProject; p <= quota.LastProject; p++ {
		l, err := p.Limits(home)
		must(t, err)
		if l != (quota.Limits{}) {
			n++
		}
		// Without this, 65,536 calls take a minute in an emulated machine. Before Linux 5.14 there is no such call.
		if next, errno := nextProject(dir, p+1); errno == unix.ENOENT {
			break
		} else if errno == 0 {
			p = next - 1
		} else if errno != unix.ENOSYS {
			t.Fatal(errno)
		}
	}
	return n
}

// nextProject returns the first project from p on that the file system of dir has a record of.
func nextProject(dir *os.File, p quota.Project) (quota.Project, unix.Errno) {
	const getNextQuota, typeProject = 0x800009, 2 // Q_GETNEXTQUOTA and PRJQUOTA of linux/quota.h
	var next struct {                             // struct if_nextdqblk
		_         [8]uint64
		_, number uint32
	}
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, dir.Fd(), getNextQuota<<8|typeProject, uintptr(p), uintptr(unsafe.Pointer(&next)), 0, 0)
	return quota.Project(next.number), errno
}

// TestQuotaCreateFails makes the last step of Create fail, after the layer got its quota.
func TestQuotaCreateFails(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newQuotaStore(t, name)
		must(t, os.MkdirAll(s.inner.Home.Overlay(store.QuotaDir), 0o700))
		// On a disk that other tests use, projects of theirs have limits.
		before := limitedProjects(t, string(s.inner.Home))
		tmp := s.inner.Home.Tmp()
		must(t, os.Rename(tmp, tmp+"-away"))
		must(t, os.Mkdir(tmp, 0o700))
		must(t, unix.Mount("none", tmp, "tmpfs", unix.MS_RDONLY, ""))
		err := s.CreateReadWrite("new", "middle", layerOptions("size=1M"))
		must(t, unix.Unmount(tmp, 0))
		if err == nil || s.Exists("new") {
			t.Errorf("it was made: %v", err)
		}
		must(t, os.Remove(tmp))
		must(t, os.Rename(tmp+"-away", tmp))
		noLeftovers(t, s)
		if now := limitedProjects(t, string(s.inner.Home)); now != before {
			t.Errorf("%d projects have limits, and %d had them before", now, before)
		}
	})
}
