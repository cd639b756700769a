//go:build linux

package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// failInit calls Open, which must fail, and leave nothing in the directory in which home was to be made.
func failInit(t *testing.T, name string, c driver.Config) error {
	t.Helper()
	parent := t.TempDir()
	before := readTree(t, parent)
	_, err := driver.Open(filepath.Join(parent, name), c)
	if err == nil {
		t.Fatal("no error")
	}
	sameTree(t, readTree(t, parent), before)
	noMounts(t, parent)
	return err
}

// TestInitWithoutAufs asks for the aufs backend on a host whose kernel has no aufs.
func TestInitWithoutAufs(t *testing.T) {
	if hasBackend(t, backend.Aufs) {
		t.Skip("this kernel has aufs")
	}
	{
		err := failInit(t, "sub/home", configFor(backend.Aufs))
		wants(t, err, store.ErrAufsNotSupported, "AUFS was not found in /proc/filesystems", "module")
		wants(t, err, store.ErrNotSupported)
		wants(t, err, unix.ENODEV)
	}
}

// TestBackendAuto shows which backend auto chooses.
func TestBackendAuto(t *testing.T) {
	backends := hostBackends(t)
	t.Run(string(backends[0]), func(t *testing.T) {
		s := openStore(t, filepath.Join(t.TempDir(), "home"), backend.Auto)
		if got := s.inner.Backend.Name(); got != backends[0] {
			t.Errorf("auto takes %s; the host has %v", got, backends)
		}
	})
}

// TestInitHomeThatAufsCannotParse has stores at paths that no option of aufs can name.
func TestInitHomeThatAufsCannotParse(t *testing.T) {
	for _, name := range hostBackends(t) {
		t.Run(string(name), func(t *testing.T) {
			for _, odd := range []string{"a,b", "a:b", "a=b"} {
				if name == backend.Aufs {
					err := failInit(t, odd, configFor(name))
					wants(t, err, store.ErrPrerequisites, odd, "cannot parse")
					continue
				}
				// Overlayfs can name them.
				s := openStore(t, filepath.Join(t.TempDir(), odd), name)
				s.create(t, "", "base", "child")
				s.change(t, "child", func(dir string) { write(t, dir, files{"f": "f"}) })
				sameNames(t, s.see(t, "child").Names(), "f")
			}
			s := openStore(t, filepath.Join(t.TempDir(), `a blank\and a backslash`), name)
			s.create(t, "", "base", "child")
			s.change(t, "child", func(dir string) { write(t, dir, files{"f": "f"}) })
			sameNames(t, s.see(t, "child").Names(), "f")
			s.oneForm(t, "child")
		})
	}
}

// TestInitOnAFileSystemThatIsRefused puts the store on an overlay mount, which both backends refuse.
func TestInitOnAFileSystemThatIsRefused(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		dir := t.TempDir()
		backing := filepath.Join(dir, "mnt")
		for _, sub := range []string{"mnt", "lower", "upper", "work"} {
			must(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
		}
		// Neither backend takes an overlay mount as its writable directory.
		m := overlayfs.Mount{
			Target: backing, Lowers: []string{filepath.Join(dir, "lower")},
			Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		}
		if err := m.Mount(); err != nil {
			t.Skipf("no overlayfs to put the store on: %v", err)
		}
		defer func() { must(t, mountutil.UnmountRetry(backing)) }()
		t.Cleanup(wire.ExpectMessages("xino doesn't support", "already stacked"))
		_, err := driver.Open(filepath.Join(backing, "home"), configFor(name))
		wants(t, err, store.ErrIncompatibleFS, "overlayfs", backing)
		sameNames(t, readTree(t, backing).Names())
	})
}

// TestBackingFilesystem has the layers on another file system than the rest of the store. It is the one that Status and errors name.
func TestBackingFilesystem(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		home := store.Home(filepath.Join(t.TempDir(), "home"))
		must(t, os.MkdirAll(home.Diff(""), 0o755))
		mountTmpfs(t, home.Diff(""))
		d, err := driver.Open(string(home), configFor(name))
		must(t, err)
		if status := d.Status(); !slices.Contains(status, [2]string{"Backing Filesystem", "tmpfs"}) {
			t.Errorf("%v", status)
		}
		must(t, d.Cleanup())
	})
}

// TestInitWhereHomeCannotBeMade puts home below a file.
func TestInitWhereHomeCannotBeMade(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
		_, err := driver.Open(filepath.Join(dir, "file", "home"), configFor(name))
		wants(t, err, unix.ENOTDIR, filepath.Join(dir, "file"))
		sameNames(t, readTree(t, dir).Names(), "file")
	})
}

// TestDirperm1IsProbed shows that mounts use the option dirperm1 if the probe has found that the kernel knows it.
func TestDirperm1IsProbed(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		s := newStore(t, backend.Aufs)
		b, ok := s.inner.Backend.(*backend.AufsBackend)
		if !ok {
			t.Fatalf("the backend is a %T", s.inner.Backend)
		}
		calls, _, err := b.Calls([]aufsfs.Branch{{Path: "/a", Permission: "rw"}}, backend.MountOptions{}, "")
		must(t, err)
		if got := strings.Contains(calls[0].Data, "dirperm1"); got != b.Dirperm1 {
			t.Errorf("dirperm1 is %v, and the mount call %q", b.Dirperm1, calls[0].Data)
		}
		calls, _, err = b.Calls([]aufsfs.Branch{{Path: "/a", Permission: "rw"}}, backend.MountOptions{Data: []string{"nodirperm1", "nodio"}}, "")
		must(t, err)
		if strings.Contains(calls[0].Data, ",dirperm1") || strings.Contains(calls[0].Data, ",dio") {
			t.Errorf("the user's choice is overruled: %q", calls[0].Data)
		}
	})
}

// TestXinoPathsDiffer has eight processes choose paths of xino files. Two mounts with the same path would break each other.
func TestXinoPathsDiffer(t *testing.T) {
	const processes, paths = 8, 50
	if os.Getenv(childVariable) != "" {
		b := &backend.AufsBackend{XinoDir: "/dev/shm"}
		for range paths {
			_, xino, err := b.Calls([]aufsfs.Branch{{Path: "/a", Permission: "rw"}}, backend.MountOptions{}, "")
			must(t, err)
			fmt.Println("xino:", xino)
		}
		return
	}
	seen := map[string]bool{}
	for range processes {
		c := exec.Command("/proc/self/exe", "-test.run=^TestXinoPathsDiffer$")
		c.Env = append(os.Environ(), childVariable+"=1")
		out, err := c.Output()
		must(t, err)
		for _, line := range strings.Split(string(out), "\n") {
			if path, ok := strings.CutPrefix(line, "xino: "); ok && seen[path] {
				t.Fatalf("%s twice", path)
			} else if ok {
				seen[path] = true
			}
		}
	}
	if len(seen) != processes*paths {
		t.Errorf("there are %d paths", len(seen))
	}
}

// childVariable makes the test program, which a test runs again as a child, do the child's part of that test.
const childVariable = "AUFS_TEST_CHILD"

// inNamespaces runs the test t again in a child to which unshare(1) has given the namespaces flags, and returns its output.
func inNamespaces(t *testing.T, home string, flags ...string) (string, error) {
	t.Helper()
	args := append(flags, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c := exec.Command("unshare", args...)
	c.Env = append(os.Environ(), childVariable+"="+home)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

// TestAufsInAUserNamespace shows the error of the aufs backend in a user namespace. The error comes before any mount, so it is the same on
// all kernels.
func TestAufsInAUserNamespace(t *testing.T) {
	if home := os.Getenv(childVariable); home != "" {
		_, err := driver.Open(home, configFor(backend.Aufs))
		wants(t, err, store.ErrAufsNested, "AUFS cannot be used in non-init user namespace")
		wants(t, err, store.ErrNotSupported)
		if _, err := os.Lstat(home); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("home is left: %v", err)
		}
		return
	}
	out, err := inNamespaces(t, filepath.Join(t.TempDir(), "home"), "-U", "-r", "-m")
	if err != nil || !strings.Contains(out, "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestInitWithoutRoot opens a store as a user who may not mount.
func TestInitWithoutRoot(t *testing.T) {
	if home := os.Getenv(childVariable); home != "" {
		must(t, unix.Setresgid(65534, 65534, 65534))
		must(t, unix.Setresuid(65534, 65534, 65534))
		_, err := driver.Open(home, configFor(backend.Overlay))
		wants(t, err, store.ErrPrerequisites, "root")
		if _, err := os.Lstat(home); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("home is left: %v", err)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("becoming another user takes root")
	}
	dir, err := os.MkdirTemp("", "aufs-test-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o777))
	out, err := inNamespaces(t, filepath.Join(dir, "home"), "-m")
	if err != nil || !strings.Contains(out, "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestSkipMountHome has the store on a shared mount, which this driver must not change.
func TestSkipMountHome(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		home := filepath.Join(t.TempDir(), "home")
		must(t, os.Mkdir(home, 0o700))
		must(t, unix.Mount(home, home, "", unix.MS_BIND, ""))
		defer func() { must(t, unix.Unmount(home, 0)) }()
		must(t, unix.Mount("", home, "", unix.MS_SHARED, ""))
		s, err := reopen(home, name, func(c *driver.Config) { c.SkipMountHome = true })
		must(t, err)
		layers := s.inner.Home
		s.create(t, "", "base", "child")
		write(t, layers.Diff("base"), files{"f": "f"})
		s.change(t, "child", func(dir string) { write(t, dir, files{"g": "g"}) })
		sameNames(t, s.see(t, "child").Names(), "f", "g")
		must(t, s.Cleanup())
		noMountsBelow(t, home)
		mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(home))
		must(t, err)
		if len(mounts) != 1 || mounts[0].Optional == "" {
			t.Errorf("home is no shared mount any more: %+v", mounts)
		}
	})
}

// noMountsBelow fails the test if anything is mounted below dir.
func noMountsBelow(t *testing.T, dir string) {
	t.Helper()
	mounts, err := mountutil.MountsUnder(dir)
	must(t, err)
	for _, m := range mounts {
		t.Errorf("%s is still mounted", m.Mountpoint)
	}
}
