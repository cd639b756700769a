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

// peak does an operation once more, and reports how much more than before was live on the heap in the meantime. The first
// round will do: that takes long, and differs little. An operation that takes very long is left out.
func peak(b *testing.B, op func()) {
	b.Helper()
	if round := os.Getenv(roundVariable); (round != "" && round != "0") || b.Elapsed() > longest*time.Duration(b.N) {
		return
	}
	// With so little room the collector is at work nearly all the time, and what is dead does not count for long.
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

// longest is how long an operation may be to be done once more.
const longest = 3 * time.Second

// liveHeap is what objects have of the heap, those included that the collector has yet to find dead.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
