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

// A kind is the size of a layer's files.
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

// layer opens a store with a layer that has the tree, on a layer with the files that the tree deletes. It returns
// the ids of the layer and of its parent.
func (d driver) layer(b *testing.B, t tree) (s store, id, parent string) {
	b.Helper()
	s = d.fixture(b, fmt.Sprintf("layer-%d-%d", t.files, t.size), func(s store) {
		s.makeStack(b, 1, t.below())
		s.makeLayer(b, idOf("layer"), stackID(0), t.onTop())
	})
	return s, idOf("layer"), stackID(0)
}

// BenchmarkDiff makes an archive of a layer. For comparison, tar(1) makes an archive of the same directory.
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

// tarName returns the kind of tar on this host, as a value of the key "driver"; "" if the host has none.
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

// BenchmarkApplyDiff unpacks an archive into a new layer. The archive comes as a stream, as from the library's Store. Drivers
// that do not read the archive themselves would pass a file on to the child that unpacks.
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

// benchmarkUnpack has the library unpack the archive of a tree into an empty directory. It unpacks in this process, without
// protection against archives that lead out of the directory.
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

// applyNew is a loop over apply, which fills a new layer with the tree and returns its size.
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

// BenchmarkDiffApply copies a layer through its archive.
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

// BenchmarkDiffSize computes the size of a layer.
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

// BenchmarkReadWriteDiskUsage computes the size of a container. The container is mounted, because the in-tree driver needs that.
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
