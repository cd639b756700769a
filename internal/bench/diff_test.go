//go:build linux

package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	unpacker "github.com/containers/storage/pkg/archive"
)

// A kind says how big the files of a layer are.
type kind struct {
	name string
	size int64
}

// forEachContent runs a benchmark with layers of many and of few files, small and large.
func forEachContent(b *testing.B, run func(b *testing.B, t tree)) {
	b.Helper()
	for _, files := range bySize([]int{1000, 10000}, []int{1000}, []int{10}) {
		for _, k := range []kind{{"small", small}, {"large", large}} {
			b.Run(fmt.Sprintf("files=%d/content=%s", files, k.name), func(b *testing.B) {
				run(b, tree{files: files, size: k.size, depth: 2})
			})
		}
	}
}

// layer opens a store that has a layer with a tree, and below it what the layer deletes. It returns its id and the
// parent's.
func (d driver) layer(b *testing.B, t tree) (s store, id, parent string) {
	b.Helper()
	s = d.fixture(b, fmt.Sprintf("layer-%d-%d", t.files, t.size), func(s store) {
		s.makeStack(b, 1, t.below())
		s.makeLayer(b, idOf("layer"), stackID(0), t.onTop())
	})
	return s, idOf("layer"), stackID(0)
}

// BenchmarkDiff makes an archive of a layer. For comparison tar(1) makes one of the same directory.
func BenchmarkDiff(b *testing.B) {
	forEachContent(b, func(b *testing.B, t tree) {
		forEach(b, all, func(b *testing.B, d driver) {
			s, id, parent := d.layer(b, t)
			diff := func() int64 {
				archive, err := s.Diff(id, nil, parent, nil, "")
				must(b, err)
				return readAll(b, archive)
			}
			archive, err := s.Diff(id, nil, parent, nil, "")
			must(b, err)
			if n := countEntries(b, archive); n != t.onTop().entries() {
				b.Fatalf("the archive has %d files and whiteouts, and should have %d", n, t.onTop().entries())
			}
			bytes := diff()
			for b.Loop() {
				if n := diff(); n != bytes {
					b.Fatalf("the archive has %d bytes, and had %d before", n, bytes)
				}
			}
			peak(b, func() { diff() })
		})
		benchmarkTar(b, t)
	})
}

// benchmarkTar runs tar(1) on the layer of this module's driver.
func benchmarkTar(b *testing.B, t tree) {
	name := tarName()
	if name == "" {
		return
	}
	if d, ok := driverNamed(OursOnOverlay); ok {
		b.Run("driver="+name, func(b *testing.B) {
			s, id, _ := d.layer(b, t)
			for b.Loop() {
				// tar reads no file if it sees that the archive goes to /dev/null.
				cmd := exec.Command("tar", "-cf", "-", "-C", s.filesOf(id), ".")
				out, err := cmd.StdoutPipe()
				must(b, err)
				must(b, cmd.Start())
				n := readAll(b, out)
				if err := cmd.Wait(); err != nil || n < int64(t.files)*t.size {
					b.Fatalf("tar: %v, %d bytes", err, n)
				}
			}
		})
	}
}

// tarName says which tar this host has, as a value of the key "driver": "" if it has none.
func tarName() string {
	out, err := exec.Command("tar", "--version").CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return ""
	case strings.Contains(string(out), "GNU tar"):
		return TarPrefix + "-gnu"
	case strings.Contains(strings.ToLower(string(out)), "busybox"):
		return TarPrefix + "-busybox"
	default:
		return TarPrefix
	}
}

// BenchmarkApplyDiff unpacks an archive into a new layer. It comes as a stream, as the library's Store has it: a file would be
// handed to the child that unpacks, by those that do not look at it.
func BenchmarkApplyDiff(b *testing.B) {
	forEachContent(b, func(b *testing.B, t tree) {
		forEach(b, all, func(b *testing.B, d driver) {
			s := d.fixture(b, fmt.Sprintf("apply-%d", t.files), func(s store) { s.makeStack(b, 1, t.below()) })
			top := t.onTop()
			s.applyNew(b, func(id string) int64 {
				archive := top.open(b)
				defer archive.Close()
				size, err := s.ApplyDiff(id, stackID(0), graphdriver.ApplyDiffOpts{Diff: struct{ io.Reader }{archive}})
				must(b, err)
				return size
			}, top)
		})
		if _, ok := driverNamed(OursOnOverlay); ok {
			b.Run("driver="+Floor, func(b *testing.B) { benchmarkUnpack(b, t.onTop()) })
		}
	})
}

// benchmarkUnpack has the library unpack the archive of a tree where there is nothing, and in this process, as if nobody had to fear
// where it leads.
func benchmarkUnpack(b *testing.B, t tree) {
	b.Helper()
	dir := filepath.Join(workDir(), "unpack")
	for b.Loop() {
		b.StopTimer()
		must(b, os.Mkdir(dir, 0o755))
		settled(b)
		b.StartTimer()
		archive := t.open(b)
		must(b, unpacker.Unpack(struct{ io.Reader }{archive}, dir, &unpacker.TarOptions{}))
		must(b, archive.Close())
		b.StopTimer()
		shows(b, dir, t.file(t.files-1), t.size)
		must(b, os.RemoveAll(dir))
		b.StartTimer()
	}
}

// applyNew is a loop over what fills a new layer with a tree and returns its size.
func (s store) applyNew(b *testing.B, apply func(id string) int64, t tree) {
	b.Helper()
	id := idOf("new")
	for b.Loop() {
		b.StopTimer()
		must(b, s.Create(id, stackID(0), nil))
		settled(b)
		b.StartTimer()
		size := apply(id)
		b.StopTimer()
		if size < int64(t.files)*t.size {
			b.Fatalf("the layer has %d bytes", size)
		}
		shows(b, s.filesOf(id), t.file(t.files-1), t.size)
		must(b, s.Remove(id))
		b.StartTimer()
	}
}

// BenchmarkDiffApply copies a layer by its archive.
func BenchmarkDiffApply(b *testing.B) {
	n := bySize(100, 100, 10)
	b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
		forEach(b, all, func(b *testing.B, d driver) {
			t := tree{files: n, size: small, depth: 2}
			s, from, parent := d.layer(b, t)
			s.applyNew(b, func(id string) int64 {
				archive, err := s.Diff(from, nil, parent, nil, "")
				must(b, err)
				size, err := s.ApplyDiff(id, parent, graphdriver.ApplyDiffOpts{Diff: archive})
				must(b, errors.Join(err, archive.Close()))
				return size
			}, t.onTop())
		})
	})
}

// BenchmarkDiffSize adds up a layer.
func BenchmarkDiffSize(b *testing.B) {
	forEachUsage(b, func(b *testing.B, s store, id, parent string, t tree) {
		for b.Loop() {
			size, err := s.DiffSize(id, nil, parent, nil, "")
			must(b, err)
			if size < int64(t.files)*t.size {
				b.Fatalf("the size is %d", size)
			}
		}
	})
}

// BenchmarkReadWriteDiskUsage adds up a container that is mounted, which the in-tree driver needs for that.
func BenchmarkReadWriteDiskUsage(b *testing.B) {
	forEachUsage(b, func(b *testing.B, s store, id, _ string, t tree) {
		s.get(b, id)
		for b.Loop() {
			usage, err := s.ReadWriteDiskUsage(id)
			must(b, err)
			if usage.InodeCount < int64(t.files) || usage.Size < int64(t.files)*t.size {
				b.Fatalf("the usage is %+v", *usage)
			}
		}
		must(b, s.Put(id))
	})
}

func forEachUsage(b *testing.B, run func(b *testing.B, s store, id, parent string, t tree)) {
	b.Helper()
	for _, files := range bySize([]int{1000, 10000}, []int{1000}, []int{10}) {
		b.Run(fmt.Sprintf("files=%d", files), func(b *testing.B) {
			forEach(b, all, func(b *testing.B, d driver) {
				t := tree{files: files, size: small, depth: 2}
				s, id, parent := d.layer(b, t)
				run(b, s, id, parent, t)
			})
		})
	}
}
