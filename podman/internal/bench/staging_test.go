//go:build linux

package bench

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/bench"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	_ "github.com/seed-642172e2/aufs/podman" // registers itself
	"github.com/sirupsen/logrus"
	graphdriver "go.podman.io/storage/drivers"
	_ "go.podman.io/storage/drivers/overlay" // registers itself
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/pkg/reexec"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child process of this program.
	if reexec.Init() {
		return
	}
	storetest.NoOptionsFile()
	logrus.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// A driver is a driver to compare.
type driver struct {
	name       string // the value of the key "driver"
	registered string // the driver's name in the storage library
	options    []string
}

// drivers returns the drivers that this kernel supports.
func drivers() []driver {
	all := []driver{{name: bench.Overlay, registered: "overlay"}, {name: bench.OursOnOverlay, registered: "aufs", options: []string{"aufs.backend=overlay"}}}
	if filesystems, err := os.ReadFile("/proc/filesystems"); err == nil && strings.Contains(string(filesystems), "\taufs\n") {
		all = append(all, driver{name: bench.Ours, registered: "aufs", options: []string{"aufs.backend=aufs"}})
	}
	return all
}

// open opens a new store on the file system under test, with a run root in memory, until the benchmark ends.
func (d driver) open(b *testing.B) graphdriver.Driver {
	b.Helper()
	// The name of a benchmark has characters that aufs cannot parse in a path.
	root, err := os.MkdirTemp("", "aufs-bench-")
	must(b, err)
	run, err := os.MkdirTemp("/dev/shm", "aufs-bench-")
	must(b, err)
	opened, err := graphdriver.GetDriver(d.registered, graphdriver.Options{Root: root, RunRoot: run, DriverOptions: d.options})
	must(b, err)
	b.Cleanup(func() {
		if err := errors.Join(opened.Cleanup(), os.RemoveAll(run), os.RemoveAll(root)); err != nil {
			b.Error(err)
		}
	})
	return opened
}

// archive returns the archive of a layer that has this many files.
func archive(b *testing.B, files int) []byte {
	b.Helper()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for i := range files {
		if i%100 == 0 {
			must(b, storetest.Entry{Name: fmt.Sprintf("d%d/", i/100)}.Write(w))
		}
		must(b, storetest.Entry{Name: fmt.Sprintf("d%d/file-%d", i/100, i), Content: string(storetest.Content(fileSize))}.Write(w))
	}
	must(b, w.Close())
	return content.Bytes()
}

// fileSize is the size of each file of a layer, in bytes.
const fileSize = 1 << 10

// BenchmarkApplyDiffStaging makes a layer of an archive as Store.PutLayer does: it unpacks the archive, and then makes the layer and puts the
// files there. With part=commit it measures only what comes after the unpacking, while PutLayer has the store locked.
func BenchmarkApplyDiffStaging(b *testing.B) {
	files := map[string]int{bench.Medium: 1000, bench.Small: 10}[os.Getenv("AUFS_BENCH_SIZE")]
	if files == 0 {
		files = 10_000
	}
	content := archive(b, files)
	for _, part := range []string{"all", "commit"} {
		b.Run(fmt.Sprintf("part=%s/files=%d", part, files), func(b *testing.B) {
			for _, d := range drivers() {
				b.Run("driver="+d.name, func(b *testing.B) {
					b.ReportAllocs()
					s := d.open(b)
					must(b, s.Create("base", "", nil))
					for b.Loop() {
						putLayer(b, s, content, part == "commit")
					}
				})
			}
		})
	}
}

// putLayer makes the layer "new" of the archive, and removes it while the timer stands still. If onlyCommit is true, the timer stands still
// while it unpacks the archive as well.
func putLayer(b *testing.B, s graphdriver.Driver, content []byte, onlyCommit bool) {
	b.Helper()
	b.StopTimer()
	staging, ok := s.(graphdriver.ApplyDiffStaging)
	if !ok {
		b.Fatalf("the driver %s stages nothing", s)
	}
	dir, err := os.Open(os.TempDir())
	must(b, err)
	must(b, errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close()))
	if !onlyCommit {
		b.StartTimer()
	}
	// The library passes a stream, not a file that a child process could read.
	cleanup, staged, size, err := staging.StartStagingDiffToApply("base", graphdriver.ApplyDiffOpts{
		Diff: struct{ io.Reader }{bytes.NewReader(content)}, Mappings: &idtools.IDMappings{},
	})
	must(b, err)
	b.StartTimer()
	must(b, s.Create("new", "base", nil))
	must(b, staging.CommitStagedLayer("new", staged))
	must(b, cleanup())
	b.StopTimer()
	if size < fileSize || !s.Exists("new") {
		b.Fatalf("the layer has %d bytes", size)
	}
	mounted, err := s.Get("new", graphdriver.MountOpts{})
	must(b, err)
	if info, err := os.Lstat(filepath.Join(mounted, "d0/file-0")); err != nil || info.Size() != fileSize {
		b.Fatalf("the layer shows not what was unpacked: %v", err)
	}
	must(b, errors.Join(s.Put("new"), s.Remove("new")))
	b.StartTimer()
}

// must fails the benchmark at once if err is not nil.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// TestBenchmark runs the benchmark once, at a small size, with each driver.
func TestBenchmark(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$", "-test.bench=.", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), "AUFS_BENCH_SIZE="+bench.Small, "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, d := range drivers() {
		for _, part := range []string{"all", "commit"} {
			if !regexp.MustCompile(`(?m)^BenchmarkApplyDiffStaging/part=` + part + `/\S*driver=` + d.name + `(-\d+)?\s`).Match(out) {
				t.Errorf("part=%s was not run with %s:\n%s", part, d.name, out)
			}
		}
	}
}
