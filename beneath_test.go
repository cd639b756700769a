//go:build linux

package aufs

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deepDir makes a directory below root whose path is longer than the kernel takes in one call, and returns that.
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

func TestBeneathSymlinks(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, files{"outside/f": "", "root/sub/f": ""})
	old := time.Unix(1_000_000_000, 5)
	outside, root := filepath.Join(dir, "outside"), filepath.Join(dir, "root")
	for _, path := range []string{"outside/f", "root/sub/f"} {
		must(t, os.Chtimes(filepath.Join(dir, path), old, old))
	}
	must(t, os.Symlink(outside, filepath.Join(root, "absolute")))
	must(t, os.Symlink("../outside", filepath.Join(root, "relative")))
	st, err := statBeneath(root, "sub")
	must(t, err)
	for _, link := range []string{"absolute", "relative"} {
		if _, err := statBeneath(root, link+"/f"); err == nil {
			t.Errorf("%s leads out", link)
		}
		if err := setTimesBeneath(root, link+"/f", st); err == nil {
			t.Errorf("%s leads out", link)
		}
	}
	info, err := os.Lstat(filepath.Join(outside, "f"))
	if err != nil || !info.ModTime().Equal(old) {
		t.Errorf("outside/f: %v, %v", info.ModTime(), err)
	}
	must(t, setTimesBeneath(root, "sub/f", st))
	info, err = os.Lstat(filepath.Join(root, "sub/f"))
	if err != nil || info.ModTime().UnixNano() != st.Mtim.Nano() {
		t.Errorf("root/sub/f: %v, %v", info.ModTime(), err)
	}
}

func TestWalkBeneath(t *testing.T) {
	root := t.TempDir()
	deep := deepDir(t, root)
	write(t, root, files{"skip/f": "", "sub/f": ""})
	must(t, os.Symlink("sub", filepath.Join(root, "link")))
	var names []string
	must(t, walkBeneath(root, func(_ *os.File, rel string, _ *unix.Stat_t) error {
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
