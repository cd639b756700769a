//go:build linux

package bench

import (
	"fmt"
	"os"
	"testing"
)

// BenchmarkDeferredRemove takes a layer out of the store. A program waits for that while it holds the store's lock. The
// time excludes the deferred deletion; a driver that does not defer it deletes everything at once.
func BenchmarkDeferredRemove(b *testing.B) {
	forEachRemoval(b, []int{1000, 10000}, func(s store, id string) (after func() error, err error) {
		cleanup, err := s.DeferredRemove(id)
		if cleanup == nil {
			return nil, err
		}
		return cleanup, err
	})
}

// BenchmarkRemove removes a layer with all its files.
func BenchmarkRemove(b *testing.B) {
	forEachRemoval(b, []int{1000}, func(s store, id string) (after func() error, err error) { return nil, s.Remove(id) })
}

func forEachRemoval(b *testing.B, sizes []int, remove func(s store, id string) (after func() error, err error)) {
	b.Helper()
	for _, files := range bySize(sizes, []int{1000}, []int{10}) {
		b.Run(fmt.Sprintf("files=%d", files), func(b *testing.B) {
			forEach(b, layered, func(b *testing.B, d driver) {
				t := tree{files: files, size: small, depth: 2}
				s := d.openStore(b, "removal")
				for b.Loop() {
					b.StopTimer()
					s.makeLayer(b, idOf("removed"), "", t)
					settled(b)
					b.StartTimer()
					after, err := remove(s, idOf("removed"))
					b.StopTimer()
					must(b, err)
					s.gone(b, idOf("removed"))
					if after != nil {
						must(b, after())
					}
					b.StartTimer()
				}
			})
		})
	}
}

// gone fails the benchmark if the store has a layer.
func (s store) gone(b *testing.B, id string) {
	b.Helper()
	if _, err := os.Lstat(s.filesOf(id)); s.Exists(id) || !os.IsNotExist(err) {
		b.Fatalf("the layer is still there: %v", err)
	}
}
