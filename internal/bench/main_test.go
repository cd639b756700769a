//go:build linux

package bench

import (
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/containers/storage/pkg/reexec"
	"github.com/sirupsen/logrus"
)

// Variables of the environment.
const (
	dirVariable   = "AUFS_BENCH_DIR"   // where stores are; what is in it is used again
	sizeVariable  = "AUFS_BENCH_SIZE"  // one of Sizes
	roundVariable = "AUFS_BENCH_ROUND" // how many rounds there were before
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child of this very program.
	if reexec.Init() {
		return
	}
	logrus.SetOutput(io.Discard)
	if isWorker() {
		os.Exit(beWorker())
	}
	os.Exit(inWorkDir(m.Run))
}

// inWorkDir runs something with a directory for stores, which is removed afterwards if nobody has said where.
func inWorkDir(run func() int) int {
	if workDir() != "" {
		return run()
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
	return run()
}

func workDir() string { return os.Getenv(dirVariable) }

// bySize is what the environment asks for: by default full.
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

// must fails the benchmark at once if err is one.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
