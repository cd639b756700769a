//go:build linux

package drivertest

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// TestRegularFile compares fsutil.RegularFile with what package os says of the same file.
func TestRegularFile(t *testing.T) {
	t.Run("at work", func(t *testing.T) { testRegularFile(t, fsutil.OpenRegular, fsutil.ErrNotRegular) })
	t.Run("quiet", func(t *testing.T) { testRegularFile(t, fsutil.OpenQuietly, unix.ELOOP) })
}

func testRegularFile(t *testing.T, openRegular func(*os.File, string) (*fsutil.RegularFile, error), link error) {
	t.Helper()
	root := t.TempDir()
	write(t, root, files{"file": "content", "empty": "", "dir/": ""})
	must(t, os.Symlink("file", filepath.Join(root, "link")))
	must(t, unix.Mkfifo(filepath.Join(root, "pipe"), 0o600))
	dir, err := os.Open(root)
	must(t, err)
	defer dir.Close()
	for name, mode := range map[string]fs.FileMode{
		"file": 0o640 | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky, "empty": 0o001,
	} {
		path := filepath.Join(root, name)
		must(t, os.Chmod(path, mode))
		must(t, os.Chtimes(path, time.Time{}, time.Unix(-5, 7)))
		f, err := openRegular(dir, name)
		must(t, err)
		want, err := os.Lstat(path)
		must(t, err)
		if f.Name() != name || f.Size() != want.Size() || f.Mode() != mode || f.Mode() != want.Mode() || !f.ModTime().Equal(want.ModTime()) || f.IsDir() {
			t.Errorf("%s: %s, %d, %v, %v", name, f.Name(), f.Size(), f.Mode(), f.ModTime())
		}
		if got, want := fsutil.StatOf(f), fsutil.StatOf(want); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got  %+v\n want %+v", name, got, want)
		}
		content, err := os.ReadFile(path)
		must(t, err)
		if read, err := io.ReadAll(f); err != nil || string(read) != string(content) {
			t.Errorf("%s: read %q, %v", name, read, err)
		}
		f.Close()
		_, err = f.Read(make([]byte, 1))
		wants(t, err, unix.EBADF, "read", path)
	}
	for name, target := range map[string]error{"dir": fsutil.ErrNotRegular, "pipe": fsutil.ErrNotRegular, "link": link, "gone": fs.ErrNotExist} {
		_, err := openRegular(dir, name)
		wants(t, err, target, filepath.Join(root, name))
	}
}
