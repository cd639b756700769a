//go:build linux

package drivertest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// setFlags is chattr(1). It reports whether the file system has such flags.
func setFlags(t *testing.T, path string, flags int) bool {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	now, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(now)|flags)
	}
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Logf("%s has no such flags: there is nothing to test", fsName(path))
		return false
	}
	must(t, err)
	return true
}

// TestRemoveImmutable removes a layer with files that a container has made immutable or append-only.
func TestRemoveImmutable(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, fixed := range map[string]map[string]int{
			"files":       {"d/immutable": fsutil.ImmutableFlag, "d/append": fsutil.AppendOnlyFlag},
			"directories": {"d/sub": fsutil.ImmutableFlag, "d": fsutil.AppendOnlyFlag},
			"the root":    {".": fsutil.ImmutableFlag},
			"everything":  {"d/sub/f": fsutil.ImmutableFlag, "d/sub": fsutil.ImmutableFlag, "d": fsutil.ImmutableFlag, ".": fsutil.AppendOnlyFlag},
		} {
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base", "child")
				diff := s.inner.Home.Diff("child")
				write(t, diff, files{"d/immutable": "x", "d/append": "x", "d/sub/f": "x"})
				for _, path := range []string{"d/sub/f", "d/sub", "d/immutable", "d/append", "d", "."} {
					if flags := fixed[path]; flags != 0 && !setFlags(t, filepath.Join(diff, path), flags) {
						return
					}
				}
				must(t, s.Remove("child"))
				noLeftovers(t, s)
			})
		}
	})
}
