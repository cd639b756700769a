//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	first, err := lockDir(dir)
	must(t, err)
	if second, err := tryLockDir(dir); second != nil || err != nil {
		t.Fatalf("a second lock at the same time: %v, %v", second, err)
	}
	got := make(chan error, 1)
	go func() {
		second, err := lockDir(dir)
		second.unlock()
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("the second one did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	first.unlock()
	must(t, <-got)
	third, err := tryLockDir(dir)
	if third == nil || err != nil {
		t.Errorf("the lock is not free: %v", err)
	}
	third.unlock()
}

// TestLockOfReplacedDir is about one who waits for the lock of a directory that another one is put in the place of.
func TestLockOfReplacedDir(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "dir")
	must(t, os.Mkdir(dir, 0o700))
	first, err := lockDir(dir)
	must(t, err)
	got := make(chan *pathLock, 1)
	go func() {
		lock, err := lockDir(dir)
		if err != nil {
			t.Error(err)
		}
		got <- lock
	}()
	time.Sleep(20 * time.Millisecond)
	must(t, os.Rename(dir, filepath.Join(parent, "old")))
	must(t, os.Mkdir(dir, 0o700))
	first.unlock()
	lock := <-got
	defer lock.unlock()
	if other, err := tryLockDir(dir); other != nil || err != nil {
		t.Errorf("the lock that was got is not that of the directory now there: %v, %v", other, err)
	}
	must(t, os.Remove(dir))
	if gone, err := lockDir(dir); err == nil {
		gone.unlock()
		t.Error("a directory that is not there was locked")
	}
}
