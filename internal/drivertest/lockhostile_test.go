//go:build linux

package drivertest

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// allLocked has a process of another user lock everything that the process can open under dir, until the test ends. It returns the paths
// that the process has locked.
func allLocked(t *testing.T, dir string) (storeLock []string) {
	t.Helper()
	var paths []string
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	c := exec.Command("/proc/self/exe", "-test.run=^TestLocksOfOthers$")
	c.Env = append(os.Environ(), childVariable+"=lock all")
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() {
		_ = in.Close()
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	})
	_, err = fmt.Fprintf(in, "%s\n\n", strings.Join(paths, "\n"))
	must(t, err)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "" {
			return storeLock
		}
		storeLock = append(storeLock, lines.Text())
	}
	t.Fatal("it has not said what it has locked")
	return nil
}

// lockAll is the body of allLocked's process. It reads paths up to an empty line, and prints those that it has locked.
func lockAll(t *testing.T) {
	t.Helper()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() && lines.Text() != "" {
		fd, err := unix.Open(lines.Text(), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil && unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
			fmt.Println(lines.Text())
		}
	}
	fmt.Println()
	for lines.Scan() {
		// Hold the locks until the end of the input.
	}
}

// openedTo sets the mode of a store's graph root, which is the directory of the test, and the mode of the directories in the store. It
// opens the directories around the graph root to everybody.
func openedTo(t *testing.T, home string, graphRoot, inside fs.FileMode) {
	t.Helper()
	for dir := filepath.Dir(filepath.Dir(home)); strings.Contains(filepath.Base(dir), "Test"); dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	must(t, os.Chmod(filepath.Dir(home), graphRoot))
	for _, dir := range []string{"", store.LayersDir, store.DiffDir, store.MntDir, store.TmpDir, store.OverlayDir} {
		err := os.Chmod(filepath.Join(home, dir), inside)
		if !errors.Is(err, fs.ErrNotExist) {
			must(t, err)
		}
	}
}

// TestLocksOfOthers has another user of the host lock everything in a store that he can open. Nobody must wait for him.
func TestLocksOfOthers(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		lockAll(t)
		return
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, modes := range map[string][2]fs.FileMode{
			"closed": {0o711, 0o700}, "graph root": {0o755, 0o700}, "store": {0o755, 0o755},
		} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				home := string(s.inner.Home)
				s.create(t, "", "base", "child")
				s.apply(t, "base", "", entry{Name: "f", Content: "f"})
				s.get(t, "child")
				must(t, s.Put("child"))
				openedTo(t, home, modes[0], modes[1])
				storeLock := allLocked(t, filepath.Dir(home))
				if opened := slices.Contains(storeLock, filepath.Join(home, store.LayersDir)); opened != (what == "store") {
					t.Fatalf("the other user has locked %q", storeLock)
				}
				inTime(t, func() {
					o, err := reopen(home, name)
					if err != nil {
						t.Error(err)
						return
					}
					err = o.Create("new", "child", nil)
					if err == nil {
						_, err = o.Get("new", driver.GetOptions{})
					}
					if err = errors.Join(err, o.Put("new")); err == nil {
						_, err = o.ApplyDiff("new", "child", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "g", Content: "g"})})
					}
					if err == nil {
						archive, derr := o.Diff("new", nil, "child", nil)
						if err = derr; err == nil {
							err = drain(archive)
						}
					}
					_, cerr := maintenance.Check(t.Context(), home)
					if err = errors.Join(err, cerr, o.Remove("new"), o.Cleanup()); err != nil {
						t.Error(err)
					}
				})
				if info, err := os.Lstat(filepath.Join(home, store.OverlayDir)); err != nil || info.Mode().Perm() != 0o700 {
					t.Errorf("overlay/: %v, %v", info, err)
				}
			})
		}
	})
}

// TestLocksOfOthersInReadOnlyStore is TestLocksOfOthers for a store that has no lock files, and in which nobody can make any.
func TestLocksOfOthersInReadOnlyStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		s.apply(t, "base", "", entry{Name: "f", Content: "f"})
		must(t, s.Cleanup())
		must(t, os.RemoveAll(s.inner.Home.Overlay()))
		home := filepath.Join(t.TempDir(), "home")
		must(t, os.Mkdir(home, 0o755))
		openedTo(t, home, 0o755, 0o755)
		openedTo(t, string(s.inner.Home), 0o755, 0o755)
		must(t, unix.Mount(string(s.inner.Home), home, "", unix.MS_BIND, ""))
		t.Cleanup(func() { must(t, unix.Unmount(home, 0)) })
		must(t, unix.Mount("", home, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		storeLock := allLocked(t, filepath.Dir(home))
		if !slices.Contains(storeLock, filepath.Join(home, store.LayersDir, "child")) {
			t.Fatalf("the other user has locked %q", storeLock)
		}
		inTime(t, func() {
			r, err := reopen(home, name)
			if err != nil {
				t.Error(err)
				return
			}
			dir, err := r.Get("child", driver.GetOptions{Options: []string{"ro"}})
			if err != nil {
				t.Error(err)
				return
			}
			if content, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(content) != "f" {
				t.Errorf("f: %q, %v", content, err)
			}
			if err := errors.Join(r.Put("child"), r.Cleanup()); err != nil {
				t.Error(err)
			}
		})
		noMounts(t, filepath.Join(home, store.MntDir))
	})
}

// TestLockOfMounts takes the lock of mounts with LockMounts, shared, and with LockMountsOutside. Each must keep the other out. While
// LockMountsOutside holds the lock, it must be possible to unmount home.
func TestLockOfMounts(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		h := newStore(t, name).inner.Home
		free := func() bool {
			lock, err := fsutil.OrNil(h.FlockFile(h.Overlay(store.MountsLock), "", unix.LOCK_SH|unix.LOCK_NB))
			must(t, err)
			defer lock.Unlock()
			return lock != nil
		}
		lock, err := h.LockMountsOutside()
		must(t, err)
		if free() {
			t.Error("it does not keep out who mounts")
		}
		must(t, mountutil.UnmountRetry(string(h)))
		if free() {
			t.Error("it does not keep out who mounts, when home is unmounted")
		}
		lock.Unlock()
		must(t, h.MakePrivate())
		shared, err := h.LockMounts(unix.LOCK_SH)
		must(t, err)
		got := make(chan *fsutil.Lock)
		go func() {
			lock, err := h.LockMountsOutside()
			if err != nil {
				t.Error(err)
			}
			got <- lock
		}()
		select {
		case <-got:
			t.Error("who mounts does not keep it out")
		case <-time.After(50 * time.Millisecond):
			shared.Unlock()
			lock := <-got
			lock.Unlock()
		}
		if !free() {
			t.Error("the lock is not free")
		}
		// LeavePrivate makes nothing in the place of a home that is gone.
		must(t, h.LeavePrivate())
		must(t, os.Rename(string(h), string(h)+"-elsewhere"))
		if err := h.LeavePrivate(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(string(h)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("home is made anew: %v", err)
		}
		must(t, os.Rename(string(h)+"-elsewhere", string(h)))
	})
}

// TestCheckMakesNoLock checks a store that this driver has never opened. Check must not make overlay/ there.
func TestCheckMakesNoLock(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		must(t, s.Cleanup())
		must(t, os.RemoveAll(s.inner.Home.Overlay()))
		if problems, err := maintenance.Check(t.Context(), string(s.inner.Home)); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
		if _, err := os.Lstat(s.inner.Home.Overlay()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("overlay/ is there: %v", err)
		}
		must(t, s.Remove("base"))
	})
}

// TestClosedGoesByWhatIsThere asks Closed about the directory around home: the mode of home does not count for that directory.
func TestClosedGoesByWhatIsThere(t *testing.T) {
	root := t.TempDir()
	h := store.Home(filepath.Join(root, "aufs"))
	must(t, os.Mkdir(string(h), 0o700))
	must(t, os.Chmod(root, 0o755))
	if h.Closed(string(h) + "/..") {
		t.Error("everybody can open it")
	}
	must(t, os.Chmod(root, 0o711))
	if !h.Closed(string(h) + "/..") {
		t.Error("nobody can open it")
	}
}

// TestReplacedLockDirectory replaces overlay/ while LeavePrivate waits for the lock in it.
func TestReplacedLockDirectory(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		h := s.inner.Home
		lock, err := h.LockMounts(unix.LOCK_SH)
		must(t, err)
		ended := make(chan error, 1)
		go func() { ended <- h.LeavePrivate() }()
		time.Sleep(300 * time.Millisecond)
		must(t, os.Rename(h.Overlay(), string(h)+"/gone"))
		must(t, os.Mkdir(h.Overlay(), 0o700))
		lock.Unlock()
		inTime(t, func() { must(t, <-ended) })
	})
}
