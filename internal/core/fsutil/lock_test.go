//go:build linux

package fsutil_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	first, err := fsutil.LockDir(dir)
	must(t, err)
	if second, err := fsutil.TryLockDir(dir); second != nil || err != nil {
		t.Fatalf("a second lock at the same time: %v, %v", second, err)
	}
	got := make(chan error, 1)
	go func() {
		second, err := fsutil.LockDir(dir)
		second.Unlock()
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("the second one did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	first.Unlock()
	must(t, <-got)
	third, err := fsutil.TryLockDir(dir)
	if third == nil || err != nil {
		t.Errorf("the lock is not free: %v", err)
	}
	third.Unlock()
}

// TestLockOfReplacedDir waits for the lock of a directory while another directory takes its place.
func TestLockOfReplacedDir(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "dir")
	must(t, os.Mkdir(dir, 0o700))
	first, err := fsutil.LockDir(dir)
	must(t, err)
	got := make(chan *fsutil.Lock, 1)
	go func() {
		lock, err := fsutil.LockDir(dir)
		if err != nil {
			t.Error(err)
		}
		got <- lock
	}()
	time.Sleep(20 * time.Millisecond)
	must(t, os.Rename(dir, filepath.Join(parent, "old")))
	must(t, os.Mkdir(dir, 0o700))
	first.Unlock()
	lock := <-got
	defer lock.Unlock()
	if other, err := fsutil.TryLockDir(dir); other != nil || err != nil {
		t.Errorf("the lock that was got is not that of the directory now there: %v, %v", other, err)
	}
	must(t, os.Remove(dir))
	if gone, err := fsutil.LockDir(dir); err == nil {
		gone.Unlock()
		t.Error("a directory that is not there was locked")
	}
}

// TestUnlockWithCopies unlocks a file while a child process has a copy of the descriptor, as a process has that was cloned and has yet to call
// execve(2).
func TestUnlockWithCopies(t *testing.T) {
	dir := t.TempDir()
	lock, err := fsutil.LockDir(dir)
	must(t, err)
	copied, err := unix.Dup(lock.Fd)
	must(t, err)
	defer unix.Close(copied)
	lock.Unlock()
	again, err := fsutil.TryLockDir(dir)
	if again == nil || err != nil {
		t.Errorf("the lock is not free: %v", err)
	}
	again.Unlock()
}
