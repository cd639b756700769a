//go:build linux

package drivertest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// deepDir makes a directory below root, and returns its path relative to root, which is longer than the kernel takes in one call.
func deepDir(t *testing.T, root string) string {
	t.Helper()
	name := strings.Repeat("d", 200)
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	rel := ""
	for len(rel) <= unix.PathMax {
		must(t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd, rel = next, filepath.Join(rel, name)
	}
	must(t, unix.Close(fd))
	return rel
}

// withOpenat2AndWithout runs test with openat2(2), and again where openat2(2) fails, as it does on old kernels and under the system call
// filters of some containers.
func withOpenat2AndWithout(t *testing.T, test func(t *testing.T)) {
	t.Run("openat2", test)
	for _, errno := range []unix.Errno{unix.ENOSYS, unix.EPERM} {
		t.Run(errno.Error(), func(t *testing.T) {
			// The filter applies to one thread, which ends with the goroutine that is locked to it.
			runtime.LockOSThread()
			failCall(t, unix.SYS_OPENAT2, errno)
			if _, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: fsutil.DirectoryFlags}); !errors.Is(err, errno) {
				t.Fatalf("openat2: %v", err)
			}
			test(t)
		})
	}
}

// failCall makes a system call fail in this thread from now on.
func failCall(t *testing.T, nr uint32, errno unix.Errno) {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	must(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	must(t, unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0))
}

func TestRetried(t *testing.T) {
	calls := 0
	fd, err := fsutil.Retried(func() (int, error) {
		calls++
		if calls < 3 {
			return -1, unix.EINTR
		}
		return 7, nil
	})
	if fd != 7 || err != nil || calls != 3 {
		t.Errorf("%d, %v after %d calls", fd, err, calls)
	}
}

func TestBeneathSymlinks(t *testing.T) { withOpenat2AndWithout(t, testBeneathSymlinks) }

func testBeneathSymlinks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, files{"outside/f": "", "root/sub/f": ""})
	old := time.Unix(1_000_000_000, 5)
	outside, root := filepath.Join(dir, "outside"), filepath.Join(dir, "root")
	for _, path := range []string{"outside/f", "root/sub/f"} {
		must(t, os.Chtimes(filepath.Join(dir, path), old, old))
	}
	must(t, os.Symlink(outside, filepath.Join(root, "absolute")))
	must(t, os.Symlink("../outside", filepath.Join(root, "relative")))
	st, err := fsutil.StatBeneath(root, "sub")
	must(t, err)
	times := []unix.Timespec{st.Atim, st.Mtim}
	for _, link := range []string{"absolute", "relative"} {
		if _, err := fsutil.StatBeneath(root, link+"/f"); err == nil {
			t.Errorf("%s leads out", link)
		}
		if err := fsutil.SetTimesBeneath(root, link+"/f", times); err == nil {
			t.Errorf("%s leads out", link)
		}
	}
	info, err := os.Lstat(filepath.Join(outside, "f"))
	if err != nil || !info.ModTime().Equal(old) {
		t.Errorf("outside/f: %v, %v", info.ModTime(), err)
	}
	must(t, fsutil.SetTimesBeneath(root, "sub/f", times))
	info, err = os.Lstat(filepath.Join(root, "sub/f"))
	if err != nil || info.ModTime().UnixNano() != st.Mtim.Nano() {
		t.Errorf("root/sub/f: %v, %v", info.ModTime(), err)
	}
}

func TestWalkBeneath(t *testing.T) { withOpenat2AndWithout(t, testWalkBeneath) }

func testWalkBeneath(t *testing.T) {
	root := t.TempDir()
	deep := deepDir(t, root)
	write(t, root, files{"skip/f": "", "sub/f": ""})
	must(t, os.Symlink("sub", filepath.Join(root, "link")))
	var names []string
	must(t, fsutil.WalkBeneath(root, func(_ *os.File, rel string, _ *unix.Stat_t) error {
		names = append(names, rel)
		if rel == "skip" {
			return fs.SkipDir
		}
		return nil
	}))
	for _, want := range []string{deep, "skip", "sub/f", "link"} {
		if !slices.Contains(names, want) {
			t.Errorf("%q is not visited", want)
		}
	}
	if slices.Contains(names, "skip/f") || slices.Contains(names, "link/f") {
		t.Errorf("%q", names)
	}
}
