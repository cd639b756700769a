//go:build linux

package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// storeSizes returns the numbers of layers in the stores of forEachStore.
func storeSizes() []int { return bySize([]int{100, 10000}, []int{100, 1000}, []int{10}) }

// forEachStore runs a benchmark in stores with few and with very many layers.
func forEachStore(b *testing.B, run func(b *testing.B, s store, layers int)) {
	b.Helper()
	for _, layers := range storeSizes() {
		b.Run(fmt.Sprintf("layers=%d", layers), func(b *testing.B) {
			forEach(b, all, func(b *testing.B, d driver) {
				s := d.fixture(b, fmt.Sprintf("many-%d", layers), func(s store) {
					for i := range layers {
						must(b, s.Create(stackID(i), "", nil))
					}
				})
				run(b, s, layers)
			})
		})
	}
}

// BenchmarkCreate makes one more layer.
func BenchmarkCreate(b *testing.B) {
	forEachStore(b, func(b *testing.B, s store, layers int) {
		id := idOf("new")
		for b.Loop() {
			must(b, s.Create(id, stackID(layers-1), nil))
			b.StopTimer()
			if !s.Exists(id) {
				b.Fatal("the new layer is not there")
			}
			must(b, s.Remove(id))
			b.StartTimer()
		}
	})
	for _, layers := range storeSizes() {
		b.Run(fmt.Sprintf("layers=%d/driver=%s", layers, Floor), benchmarkDurable)
	}
}

// benchmarkDurable makes two directories and a file, and puts them on the disk in their order: that is a layer, for drivers
// whose layers are whole after a power cut.
func benchmarkDurable(b *testing.B) {
	b.ReportAllocs()
	dir := filepath.Join(workDir(), "durable")
	must(b, os.MkdirAll(dir, 0o700))
	path := func(name string) string { return filepath.Join(dir, name) }
	for b.Loop() {
		must(b, os.Mkdir(path("diff"), 0o755))
		must(b, os.Mkdir(path("mnt"), 0o755))
		f, err := os.Create(path("file"))
		must(b, err)
		_, err = f.WriteString(idOf("parent") + "\n")
		must(b, errors.Join(err, f.Sync(), f.Close()))
		must(b, os.Rename(path("file"), path("layers")))
		d, err := os.Open(dir)
		must(b, err)
		must(b, errors.Join(d.Sync(), d.Close()))
		b.StopTimer()
		must(b, errors.Join(os.Remove(path("diff")), os.Remove(path("mnt")), os.Remove(path("layers"))))
		b.StartTimer()
	}
}

// BenchmarkExists asks for a layer that exists, and for one that does not.
func BenchmarkExists(b *testing.B) {
	forEachStore(b, func(b *testing.B, s store, layers int) {
		there, missing := stackID(layers/2), idOf("missing")
		for b.Loop() {
			if !s.Exists(there) || s.Exists(missing) {
				b.Fatal("the answer is wrong")
			}
		}
	})
}

// BenchmarkListLayers lists all layers.
func BenchmarkListLayers(b *testing.B) {
	forEachStore(b, func(b *testing.B, s store, layers int) {
		for b.Loop() {
			ids, err := s.ListLayers()
			must(b, err)
			if len(ids) != layers {
				b.Fatalf("there are %d layers, and should be %d", len(ids), layers)
			}
		}
	})
}
