//go:build linux

package bench

import (
	"testing"

	"github.com/containers/storage/drivers/graphtest"
)

// forEachGraphtest runs one of the storage library's benchmarks for all drivers.
func forEachGraphtest(b *testing.B, name string, run func(b *testing.B, driver string, options ...string)) {
	b.Helper()
	b.Run("case="+name, func(b *testing.B) {
		forEach(b, all, func(b *testing.B, d driver) { run(b, d.registered, d.options...) })
	})
}

// diffN returns graphtest's benchmark with numbers of files in the lower and the upper layer.
func diffN(bottom, top int) func(*testing.B, string, ...string) {
	return func(b *testing.B, driver string, options ...string) {
		graphtest.DriverBenchDiffN(b, bottom, top, driver, options...)
	}
}

// layers returns a benchmark of graphtest with a number of layers.
func layers(run func(b *testing.B, layers int, driver string, options ...string)) func(*testing.B, string, ...string) {
	return func(b *testing.B, driver string, options ...string) {
		run(b, bySize(20, 20, 3), driver, options...)
	}
}

// BenchmarkGraphtest runs the benchmarks for as long as -test.benchtime says. The two below have a fixed number of
// operations: see Cases.
func BenchmarkGraphtest(b *testing.B) {
	many := bySize(10000, 1000, 20)
	forEachGraphtest(b, "Exists", graphtest.DriverBenchExists)
	forEachGraphtest(b, "DiffBase", graphtest.DriverBenchDiffBase)
	forEachGraphtest(b, "DiffFewOnFew", diffN(10, 10))
	forEachGraphtest(b, "DiffManyOnFew", diffN(10, many))
	forEachGraphtest(b, "DiffFewOnMany", diffN(many, 10))
	forEachGraphtest(b, "DeepLayerDiff", layers(graphtest.DriverBenchDeepLayerDiff))
}

// BenchmarkGraphtestGetEmpty times Get. The Put after each Get is not timed.
func BenchmarkGraphtestGetEmpty(b *testing.B) {
	forEachGraphtest(b, "GetEmpty", graphtest.DriverBenchGetEmpty)
}

// BenchmarkGraphtestDeepLayerRead times the read of a file. The check of what was read is not
// timed.
func BenchmarkGraphtestDeepLayerRead(b *testing.B) {
	forEachGraphtest(b, "DeepLayerRead", layers(graphtest.DriverBenchDeepLayerRead))
}
