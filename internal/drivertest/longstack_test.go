//go:build linux

package drivertest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// longestLine returns the length of the longest line in mountinfo about mounts under dir.
func longestLine(t *testing.T, dir string) int {
	t.Helper()
	content, err := os.ReadFile("/proc/thread-self/mountinfo")
	must(t, err)
	longest := 0
	for line := range strings.Lines(string(content)) {
		if strings.Contains(line, " "+dir) {
			longest = max(longest, len(line))
		}
	}
	return longest
}

// longStack makes layers as Create does, but does not sync them. Each layer is on top of the one before, and has a file of its own.
// longStack returns the id of the uppermost layer.
func (s testStore) longStack(t *testing.T, layers int) (top string) {
	t.Helper()
	h := s.inner.Home
	var parents []string
	for i := range layers {
		top = fmt.Sprintf("%064d", i)
		write(t, h.Diff(top), files{fmt.Sprintf("f%03d", i): "x"})
		must(t, os.Mkdir(h.Mnt(top), 0o755))
		must(t, os.WriteFile(h.Layers(top), store.FormatParents(parents), 0o644))
		parents = append([]string{top}, parents...)
	}
	return top
}

// newStoreIn is newStore with a long path.
func newStoreIn(t *testing.T, name backend.Name) testStore {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 8))
	must(t, os.Mkdir(dir, 0o700))
	return openStore(t, filepath.Join(dir, "home"), name)
}

// TestLineOfLongStackIsShort mounts a stack of as many layers as possible, with and without options. Its line in mountinfo must be no
// longer than what programs read.
func TestLineOfLongStackIsShort(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStoreIn(t, backend.Overlay)
		top := s.longStack(t, backend.MostLowers+1)
		for _, options := range [][]string{nil, {"nodev"}} {
			dir := s.get(t, top, options...)
			if seen := readTree(t, dir); len(seen) != backend.MostLowers+2 {
				t.Errorf("the mount has %d files", len(seen))
			}
			if longest := longestLine(t, string(s.inner.Home)); longest > 4096+1024 {
				t.Errorf("a line of mountinfo has %d bytes", longest)
			}
			if used, err := inuse.UpperInMountinfo(s.inner.Home.Diff(top)); err != nil || !used {
				t.Errorf("in mountinfo its upper directory is in use: %t, %v", used, err)
			}
			must(t, s.Put(top))
		}
		// In a read-only mount, the layer's own directory is one of the lower ones, so the stack has one layer less.
		below := fmt.Sprintf("%064d", backend.MostLowers-1)
		if seen := s.see(t, below, "ro"); len(seen) != backend.MostLowers+1 {
			t.Errorf("the read-only mount has %d files", len(seen))
		}
	})
}

// TestLongStackWithoutThread mounts long stacks where no thread can have a working directory of its own, and where not all files can be
// open at once.
func TestLongStackWithoutThread(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		s := newStoreIn(t, backend.Overlay)
		layers := 200
		if overlayfs.KernelTakesParts() {
			layers = backend.MostLowers
		}
		top := s.longStack(t, layers)
		ended := make(chan bool)
		// The thread gets a mount namespace of its own, so no other thread can mount for it. It must not be the first thread of the process:
		// later tests look for mounts in the first thread's mount namespace.
		go fsutil.OnOtherThread(func() {
			defer close(ended)
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				t.Errorf("unshare: %v", err)
				return
			}
			if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
				t.Errorf("private: %v", err)
				return
			}
			dir, err := s.Get(top, driver.GetOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != layers {
				t.Errorf("the mount has %d files: %v", len(entries), err)
			}
			if longest := longestLine(t, string(s.inner.Home)); longest > 16384 {
				t.Errorf("a line of mountinfo has %d bytes", longest)
			}
			if err := s.Put(top); err != nil {
				t.Error(err)
			}
		})
		<-ended
		if !overlayfs.KernelTakesParts() {
			return
		}
		var limit unix.Rlimit
		must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
		less := limit
		less.Cur = 100
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &less))
		defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
		if seen := s.see(t, top); len(seen) != layers+1 {
			t.Errorf("with few files open the mount has %d files", len(seen))
		}
	})
}

// foreignLongLine mounts, in dir, an overlay of so many directories with long names that the parser of package mountinfo cannot read its
// line. Kernels without lowerdir+ cannot have such a line.
func foreignLongLine(t *testing.T, dir string) {
	t.Helper()
	foreign := filepath.Join(dir, "foreign")
	must(t, os.Mkdir(foreign, 0o700))
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	must(t, err)
	defer unix.Close(fsfd)
	for i := range backend.MostLowers {
		lower := filepath.Join(dir, fmt.Sprintf("%0*d", 250-len(dir)-1, i))
		must(t, os.Mkdir(lower, 0o700))
		must(t, unix.FsconfigSetString(fsfd, "lowerdir+", lower))
	}
	must(t, unix.FsconfigCreate(fsfd))
	mfd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(mfd)
	must(t, unix.MoveMount(mfd, "", unix.AT_FDCWD, foreign, unix.MOVE_MOUNT_F_EMPTY_PATH))
	t.Cleanup(func() { must(t, unix.Unmount(foreign, 0)) })
	if _, err := mountinfo.GetMounts(nil); !errors.Is(err, bufio.ErrTooLong) {
		t.Fatalf("the line is not too long: %v", err)
	}
}

// TestForeignLongLine uses a store on a host with a foreign mount whose line in mountinfo is longer than most programs read.
func TestForeignLongLine(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		// Older kernels have no lines as long as that: see TestLongLinesOfMountinfo.
		if overlayfs.KernelTakesParts() {
			foreignLongLine(t, t.TempDir())
		}
		s := newStore(t, name)
		s.create(t, "", "base", "child", "other")
		s.apply(t, "base", "", entry{Name: "f", Content: "f"})
		dir := s.get(t, "child")
		write(t, dir, files{"new": "new"})
		if name == backend.Overlay {
			for upper, want := range map[string]bool{s.inner.Home.Diff("child"): true, s.inner.Home.Diff("other"): false} {
				if used, err := inuse.UpperInMountinfo(upper); err != nil || used != want {
					t.Errorf("%s is in use: %t, %v", upper, used, err)
				}
			}
		}
		if mounted, err := mountutil.MountedByTable(dir); err != nil || !mounted {
			t.Errorf("it is mounted: %t, %v", mounted, err)
		}
		if self, err := store.IsSelfBind(string(s.inner.Home)); err != nil || !self {
			t.Errorf("home is a private mount: %t, %v", self, err)
		}
		if problems, err := maintenance.Check(t.Context(), string(s.inner.Home)); err != nil || len(problems) > 0 {
			t.Errorf("Check: %v, %v", problems, err)
		}
		s.get(t, "other")
		open, err := os.Open(filepath.Join(dir, "new"))
		must(t, err)
		wants(t, s.Put("child"), unix.EBUSY, filepath.Join(dir, "new"))
		must(t, open.Close())
		must(t, s.Put("child"))
		sameNames(t, s.see(t, "child", "ro").Names(), "f", "new")
		second, err := reopen(string(s.inner.Home), name)
		must(t, err)
		must(t, second.Cleanup())
		noMounts(t, string(s.inner.Home))
		must(t, s.Remove("other"))
		must(t, s.Remove("child"))
		must(t, s.Cleanup())
		noLeftovers(t, s)
	})
}
