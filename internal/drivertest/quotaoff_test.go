//go:build linux && (amd64 || arm64)

package drivertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/faults"
	"golang.org/x/sys/unix"
)

// TestQuotaOff uses layers with quotas in a process that can neither read nor set them. ESRCH is the error of an xfs that was mounted
// again without prjquota, and EPERM that of a user namespace.
func TestQuotaOff(t *testing.T) {
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 3 {
		errno, err := strconv.Atoi(args[2])
		must(t, errors.Join(err, faults.Deny(unix.SYS_QUOTACTL_FD, unix.Errno(errno)), faults.Deny(unix.SYS_QUOTACTL, unix.Errno(errno))))
		s, err := reopen(args[0], backend.Name(args[1]))
		must(t, err)
		useWithoutQuotas(t, s)
		return
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, errno := range []unix.Errno{unix.ESRCH, unix.EPERM} {
			t.Run(errno.Error(), func(t *testing.T) {
				s := newQuotaStore(t, name)
				s.limited(t, "empty", "size=1M")
				s.limited(t, "used", "size=1M")
				s.change(t, "used", func(dir string) { write(t, dir, files{"a": "a"}) })
				must(t, s.Cleanup())
				c := exec.Command("/proc/self/exe", "-test.run=^TestQuotaOff$", "-test.v")
				c.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d", childVariable, s.inner.Home, name, errno))
				if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestQuotaOff") {
					t.Fatalf("%v\n%s", err, out)
				}
				if l, used := s.quotaOf(t, "used"); l.Bytes != 1<<20 || used.Inodes < 3 {
					t.Errorf("the limits are %+v, and the layer takes %+v", l, used)
				}
				noLeftovers(t, s)
			})
		}
	})
}

func useWithoutQuotas(t *testing.T, s testStore) {
	t.Helper()
	for _, id := range []string{"empty", "used"} {
		_, err := s.ApplyDiff(id, "middle", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "applied", Content: "applied"})})
		must(t, err)
		s.change(t, id, func(dir string) { write(t, dir, files{"b": "bb"}) })
		if archive := s.diff(t, id, "middle"); archive["applied"] == nil || archive["b"] == nil {
			t.Errorf("the archive of %s has %d files", id, len(archive))
		}
		if usage, err := s.ReadWriteDiskUsage(id); err != nil || usage.Size < 9 || usage.Size > 20 {
			t.Errorf("%s takes %+v, %v", id, usage, err)
		}
	}
	must(t, s.Remove("empty"))
	must(t, s.Cleanup())
}
