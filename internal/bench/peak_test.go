//go:build linux

package bench

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// peak does an operation once more, and reports by how much live heap exceeded its previous value during the operation.
// It does so only in the first round, because it is slow and the value hardly varies. It leaves out very long operations.
func peak(b *testing.B, op func()) {
	b.Helper()
	if round := os.Getenv(roundVariable); (round != "" && round != "0") || b.Elapsed() > longest*time.Duration(b.N) {
		return
	}
	// With so little room the collector runs nearly all the time, so that dead objects do not count for long.
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	runtime.GC()
	before := liveHeap()
	most, stop, stopped := before, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				most = max(most, liveHeap())
			}
		}
	}()
	op()
	close(stop)
	<-stopped
	b.ReportMetric(float64(most-before), "peak-B")
}

// longest is the longest operation that peak repeats.
const longest = 3 * time.Second

// liveHeap returns the bytes of all objects on the heap, including dead ones that the collector has not found yet.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
