//go:build linux

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"
)

// BenchmarkGetFirst times three Gets of a container: the first one, on layers that were just unpacked, for which a user
// waits after a pull; a later one; and one without what this module's driver caches of a stack between mounts. The
// other drivers cache nothing. The store is opened anew for each Get, as if a program of its own did it. Only Get is
// timed. There are few operations, so a single disturbed operation would dominate their mean; the reported time is
// their median. Before a later Get, other layers are unpacked, because after so much work a Get takes longer, even with
// a driver that has nothing to find out.
func BenchmarkGetFirst(b *testing.B) {
	im := image{layers: bySize(30, 30, 3), files: 50, marks: true}
	others := im
	others.gone = 1
	run := func(get string, before func(b *testing.B, f, other firstGet)) {
		b.Run(fmt.Sprintf("get=%s/parents=%d", get, im.layers), func(b *testing.B) {
			forEach(b, layered, func(b *testing.B, d driver) {
				f, other := firstGet{im, d}, firstGet{others, d}
				f.make(b)
				f.get(b)
				var times []time.Duration
				b.StartTimer() // Loop expects a running timer
				for b.Loop() {
					b.StopTimer()
					before(b, f, other)
					times = append(times, f.get(b))
					b.StartTimer()
				}
				b.ReportMetric(float64(median(times)), "ns/op")
				f.remove(b)
			})
		})
	}
	run(First, func(b *testing.B, f, _ firstGet) {
		f.remove(b)
		f.make(b)
	})
	run(Later, func(b *testing.B, _, other firstGet) {
		other.make(b)
		other.remove(b)
	})
	run(Uncached, func(b *testing.B, f, _ firstGet) { f.forgetAll(b) })
}

// A firstGet is a container on an image, in a store that is opened for each operation.
type firstGet struct {
	image  image
	driver driver
}

func (f firstGet) id() string { return idOf("container on %s", f.image.top()) }

// inStore opens the store for one operation.
func (f firstGet) inStore(b *testing.B, do func(s store)) {
	b.Helper()
	s, err := f.driver.open("first")
	must(b, err)
	defer func() {
		if err := s.Cleanup(); err != nil {
			b.Errorf("Cleanup: %v", err)
		}
	}()
	do(s)
}

func (f firstGet) make(b *testing.B) {
	b.Helper()
	f.inStore(b, func(s store) {
		f.image.unpack(b, s)
		must(b, s.CreateReadWrite(f.id(), f.image.top(), nil))
	})
}

func (f firstGet) remove(b *testing.B) {
	b.Helper()
	f.inStore(b, func(s store) {
		must(b, s.Remove(f.id()))
		f.image.remove(b, s)
	})
}

// get mounts the container with the timer on, and checks and unmounts it with the timer off. It returns how long Get took.
func (f firstGet) get(b *testing.B) (took time.Duration) {
	b.Helper()
	f.inStore(b, func(s store) {
		// The garbage from unpacking layers must not be collected while Get runs.
		settled(b)
		runtime.GC()
		b.StartTimer()
		start := time.Now()
		dir := s.get(b, f.id())
		took = time.Since(start)
		b.StopTimer()
		f.image.look(b, s, dir, f.image.layers-1)
		must(b, s.Put(f.id()))
	})
	return took
}

// median returns the middle one of some times, or the longer of the two in the middle.
func median(times []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(times))[len(times)/2]
}

// caches returns the directories of this module's driver whose contents it can compute again.
func caches() []string {
	return []string{"overlay/known", "overlay/shadow"}
}

// forgetAll empties the caches.
func (f firstGet) forgetAll(b *testing.B) {
	b.Helper()
	f.inStore(b, func(s store) {
		for _, cache := range caches() {
			inside, err := filepath.Glob(filepath.Join(s.root, cache, "*"))
			must(b, err)
			for _, path := range inside {
				must(b, os.RemoveAll(path))
			}
		}
	})
}
