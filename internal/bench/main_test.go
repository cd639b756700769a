//go:build linux

package bench

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/storage/pkg/reexec"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Environment variables.
const (
	dirVariable   = "AUFS_BENCH_DIR"   // the directory of the stores; its contents are used again
	sizeVariable  = "AUFS_BENCH_SIZE"  // one of Sizes
	roundVariable = "AUFS_BENCH_ROUND" // how many rounds came before
	// profileVariable is the path of the program's CPU profile, if there is one. The names of its workers' profiles begin
	// with it.
	profileVariable = "AUFS_BENCH_PROFILE"
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child process of this program.
	if reexec.Init() {
		return
	}
	storetest.NoOptionsFile()
	logrus.SetOutput(io.Discard)
	if isWorker() {
		os.Exit(beWorker())
	}
	os.Exit(inWorkDir(m.Run))
}

// inWorkDir calls run with a directory for stores and one for run roots. It makes the directory for stores if the environment
// names none, and then removes it afterwards.
func inWorkDir(run func() int) int {
	if workDir() != "" {
		return withRunRoots(run)
	}
	dir, err := os.MkdirTemp("", "aufs-bench-")
	if err == nil {
		err = os.Setenv(dirVariable, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	return withRunRoots(run)
}

// withRunRoots calls run with run roots on a tmpfs, as in real use.
func withRunRoots(run func() int) int {
	err := os.MkdirAll(runRoots(), 0o700)
	if err == nil && os.Geteuid() == 0 {
		err = unix.Mount("none", runRoots(), "tmpfs", 0, "mode=700")
		defer unix.Unmount(runRoots(), unix.MNT_DETACH)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

func workDir() string { return os.Getenv(dirVariable) }

func runRoots() string { return filepath.Join(workDir(), "run") }

// bySize returns the argument for the size in the environment, full by default.
func bySize[T any](full, medium, small T) T {
	switch os.Getenv(sizeVariable) {
	case Medium:
		return medium
	case Small:
		return small
	default:
		return full
	}
}

// must fails the benchmark at once if err is not nil.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
