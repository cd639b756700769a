//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSuperWatch asks, in each way that there is, if a file system is gone that had one mount, and one that had two.
func TestSuperWatch(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	for name, watch := range map[string]func(string) *superWatch{"first choice": watchSuper, "inotify": watchByInotify} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, files{"one/": "", "two/": ""})
			one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
			must(t, unix.Mount("none", one, "tmpfs", 0, ""))
			must(t, unix.Mount(one, two, "", unix.MS_BIND, ""))
			w := watch(one)
			must(t, unix.Unmount(one, 0))
			if w == nil || w.ended() {
				t.Errorf("%v says that the file system is gone, which has another mount", w)
			}
			w = watch(two)
			must(t, unix.Unmount(two, 0))
			if w == nil || !w.ended() {
				t.Errorf("%v says that the file system lives, which has no mount", w)
			}
		})
	}
	var none *superWatch
	if none.ended() {
		t.Error("what was not watched is gone")
	}
}

// TestKernelDev compares numbers with those that the kernel's new_encode_dev makes.
func TestKernelDev(t *testing.T) {
	for _, c := range []struct {
		major, minor uint32
		want         int
	}{{0, 0, 0}, {0, 0x2a, 0x2a}, {8, 1, 0x801}, {0, 0x12345, 0x12300045}, {259, 0x100, 0x110300}} {
		if got := kernelDev(c.major, c.minor); got != c.want {
			t.Errorf("%d:%d is %#x, not %#x", c.major, c.minor, got, c.want)
		}
	}
}
