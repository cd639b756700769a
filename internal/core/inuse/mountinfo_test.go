//go:build linux

package inuse_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/moby/sys/mountinfo"
	"github.com/seed-642172e2/aufs/internal/core/inuse"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"golang.org/x/sys/unix"
)

// hundreds returns a list of lower directories that is longer than a line may be.
func hundreds(option, between string) string {
	dirs := make([]string, 600)
	for i := range dirs {
		dirs[i] = option + fmt.Sprintf(`/var/lib/%s/aufs/diff/%064d`, strings.Repeat(`a\040b/`, 8), i)
	}
	return strings.Join(dirs, between)
}

// TestLongLinesOfMountinfo reads what kernels write about mounts with many lower directories, with other mounts before and after.
func TestLongLinesOfMountinfo(t *testing.T) {
	const plain = "29 1 254:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,discard\n"
	for _, c := range []struct{ name, options, want string }{
		{"Linux 6.1", "rw,lowerdir=" + hundreds("", ":") + `,upperdir=/s/a\054b,workdir=/w,index=off`, `rw,upperdir=/s/a\054b,index=off`},
		{"Linux 6.18", "rw," + hundreds("lowerdir+=", ",") + ",upperdir=/u,workdir=/w,uuid=null", "rw,upperdir=/u,uuid=null"},
		{"only data", "ro," + hundreds("lowerdir+=", ",") + "," + hundreds("datadir+=", ","), "ro,"},
		{"short", "rw,lowerdir=/a:/b,upperdir=/u", "rw,lowerdir=/a:/b,upperdir=/u"},
		{"none, and spaces", "rw,unc=//server/My Docs", "rw,unc=//server/My"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := plain + `36 29 0:45 / /m,lowerdir=x\040-\040y rw,noatime shared:7 master:3 - overlay over\040lay ` + c.options + "\n" + plain
			for how, r := range map[string]io.Reader{
				"whole": strings.NewReader(text), "by bytes": iotest.OneByteReader(strings.NewReader(text)),
				"without an end": iotest.DataErrReader(strings.NewReader(strings.TrimSuffix(text, "\n"))),
			} {
				mounts, err := mountinfo.GetMountsFromReader(mountutil.NewLineShortener(r), nil)
				must(t, err)
				if len(mounts) != 3 || mounts[0].Mountpoint != "/" || mounts[2].VFSOptions != "rw,discard" {
					t.Fatalf("%s: there are %d mounts: %v", how, len(mounts), mounts)
				}
				m := mounts[1]
				if m.ID != 36 || m.Mountpoint != "/m,lowerdir=x - y" || m.Optional != "shared:7 master:3" || m.FSType != "overlay" {
					t.Errorf("%s: the mount is %+v", how, m)
				}
				if m.VFSOptions != c.want {
					t.Errorf("%s: the options are %.200q, not %q", how, m.VFSOptions, c.want)
				}
			}
		})
	}
	t.Run("too long", func(t *testing.T) {
		// Options that are too long for another reason are an error, and may be those that are searched for.
		file := filepath.Join(t.TempDir(), "mountinfo")
		must(t, os.WriteFile(file, []byte(plain+"36 29 0:45 / / rw - overlay none rw,"+strings.Repeat("x", 80_000)+",upperdir=/u\n"), 0o600))
		if found, err := inuse.InMountinfo(file, "overlay", "upperdir=/u"); found == nil || !errors.Is(err, bufio.ErrTooLong) {
			t.Errorf("%v, %v", found, err)
		}
	})
}

// TestLongPathsOfMountinfo reads lines of mounts whose paths are longer than a system call takes. Any user can make such mounts, in a user
// namespace. They hide no other mount, and are no reason to take a layer for one in use.
func TestLongPathsOfMountinfo(t *testing.T) {
	for _, long := range []string{strings.Repeat("/d", 40_000), strings.Repeat(`/\012`, 40_000), strings.Repeat(`/x\040`, 40_000), strings.Repeat(`/xy\134`, 40_000), strings.Repeat(`/xyz\011`, 40_000)} {
		for _, line := range []string{
			"36 29 0:45 / " + long + " rw shared:7 - overlay none rw,upperdir=/u\n",
			"36 29 0:45 " + long + " / rw - overlay none rw,upperdir=/u\n",
			"36 29 0:45 " + long + " " + long + " rw - overlay none rw,upperdir=/u\n",
			"36 29 0:45 / / rw - overlay " + long + " rw,upperdir=/u\n",
			"36 29 0:45 " + long + " " + long + " rw - overlay " + long + " rw,lowerdir=" + long + ",upperdir=/u\n",
			"36 29 0:45 " + long + " " + long + " rw - overlay " + long + " rw,lowerdir=" + long + ",upperdir=/" + long[:4*unix.PathMax-1] + ",workdir=" + long[:4*unix.PathMax] + ",upperdir=/u\n",
		} {
			file := filepath.Join(t.TempDir(), "mountinfo")
			must(t, os.WriteFile(file, []byte(line+"29 1 254:1 / /last rw - overlay none rw,upperdir=/v\n"), 0o600))
			for upper, want := range map[string]bool{"/u": true, "/v": true, "/w": false} {
				if found, err := inuse.InMountinfo(file, "overlay", "upperdir="+upper); err != nil || (found != nil) != want {
					t.Errorf("%.60q: %s is in use: %.200v, %v", line, upper, found, err)
				}
			}
		}
	}
}

// TestShortenedLineIsBounded reads a line that never ends.
func TestShortenedLineIsBounded(t *testing.T) {
	endless := io.LimitReader(endlessReader("d/"), 64<<20)
	l := mountutil.NewLineShortener(io.MultiReader(strings.NewReader("36 29 0:45 / /m rw - overlay none rw,"), endless))
	kept, err := io.Copy(io.Discard, l)
	must(t, err)
	if kept > 2*mountutil.MaxLine {
		t.Errorf("%d bytes are kept", kept)
	}
}

// endlessReader reads its own text, again and again.
type endlessReader string

func (e endlessReader) Read(p []byte) (int, error) {
	return copy(p, bytes.Repeat([]byte(e), len(p)/len(e)+1)), nil
}

// TestMountedByTable looks for mounts as on a kernel that cannot say whether a path is a mount point.
func TestMountedByTable(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	write(t, dir, files{"a b/": "", "other/": ""})
	bound := filepath.Join(dir, "a b")
	must(t, os.Symlink("a b", filepath.Join(dir, "link")))
	is := func(name string, want bool) {
		t.Helper()
		if mounted, err := mountutil.MountedByTable(filepath.Join(dir, name)); err != nil || mounted != want {
			t.Errorf("%s is mounted: %t, %v", name, mounted, err)
		}
		if mounted, err := mountutil.IsMounted(filepath.Join(dir, name)); err != nil || mounted != want {
			t.Errorf("%s is mounted, by the quick way: %t, %v", name, mounted, err)
		}
	}
	is("a b", false)
	must(t, mountutil.MakePrivateMount(bound))
	defer func() { must(t, unix.Unmount(bound, 0)) }()
	// A directory that is a mount already is not mounted again.
	must(t, mountutil.MakePrivateMount(bound))
	mounts, err := mountutil.MountsHere(mountinfo.SingleEntryFilter(bound))
	if err != nil || len(mounts) != 1 || mounts[0].Optional != "" {
		t.Errorf("the mounts are %v, %v", mounts, err)
	}
	for name, want := range map[string]bool{"a b": true, "link": true, "other": false, "nothing": false} {
		is(name, want)
	}
}
