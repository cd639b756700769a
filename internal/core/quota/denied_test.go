//go:build linux && (amd64 || arm64)

package quota_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/faults"
	"golang.org/x/sys/unix"
)

// homeVariable has the directory for the process that does without a system call.
const homeVariable = "AUFS_TEST_QUOTA_HOME"

// TestQuotaWithoutNewCall does without quotactl_fd(2), as on kernels before 5.14, in a process of its own.
func TestQuotaWithoutNewCall(t *testing.T) {
	if home := os.Getenv(homeVariable); home != "" {
		storetest.Must(t, faults.Deny(unix.SYS_QUOTACTL_FD, unix.ENOSYS))
		storetest.Must(t, quota.Check(home))
		_, err := quota.New(filepath.Join(home, "a"), quota.Limits{Bytes: 1 << 20})
		storetest.Must(t, err)
		return
	}
	home := storetest.QuotaDir(t)
	dir := filepath.Join(home, "a")
	storetest.Must(t, os.Mkdir(dir, 0o700))
	c := exec.Command(os.Args[0], "-test.run=^TestQuotaWithoutNewCall$", "-test.v")
	c.Env = append(os.Environ(), homeVariable+"="+home)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p, err := quota.Of(dir)
	storetest.Must(t, err)
	if l, err := p.Limits(home); err != nil || p == 0 || l.Bytes != 1<<20 {
		t.Errorf("project %d has the limits %+v, %v", p, l, err)
	}
	if devices, err := filepath.Glob("/dev/aufs-quota-*"); err != nil || len(devices) > 0 {
		t.Errorf("%v, %v", devices, err)
	}
}
