//go:build linux

package bench

import (
	"fmt"
	"sync"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// pairs is how often each worker mounts and unmounts its layer in one operation.
const pairs = 10

// BenchmarkConcurrent has goroutines, and then processes, mount and unmount their own layers at the same time.
// In one operation each of them does pairs of Get and Put.
func BenchmarkConcurrent(b *testing.B) {
	for _, n := range bySize([]int{1, 8}, []int{1, 8}, []int{2}) {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			forEach(b, layered, func(b *testing.B, d driver) {
				s := d.forWorkers(b)
				for b.Loop() {
					must(b, atOnce(n, func(i int) error {
						_, err := s.getPutPairs(workerID(i))
						return err
					}))
				}
			})
			benchmarkBareConcurrent(b, n)
		})
	}
	for _, n := range bySize([]int{1, 4}, []int{1, 4}, []int{2}) {
		b.Run(fmt.Sprintf("processes=%d", n), func(b *testing.B) {
			forEach(b, layered, func(b *testing.B, d driver) {
				d.forWorkers(b)
				if d.name == InTree {
					defer wire.ExpectMessages("aufs.xino create err", "xino[0], err", "failed setting xino")()
				}
				workers := startWorkers(b, d.name, n)
				refused := 0
				for b.Loop() {
					refused += workers.doPairs(b)
				}
				b.ReportMetric(float64(refused)/float64(b.N), "refused/op")
			})
			benchmarkBareProcesses(b, n)
		})
	}
}

// mostWorkers is the number of layers for workers.
const mostWorkers = 8

// workersStore is the name of the store with layers for workers.
const workersStore = "workers"

// forWorkers opens a store that has a layer for each worker.
func (d driver) forWorkers(b *testing.B) store {
	b.Helper()
	return d.fixture(b, workersStore, func(s store) {
		parents := bySize(29, 29, 2)
		s.makeStack(b, parents, base())
		for i := range mostWorkers {
			must(b, s.CreateReadWrite(workerID(i), stackID(parents-1), nil))
		}
		must(b, s.check(workerID(0)))
	})
}

func workerID(i int) string { return idOf("worker %d", i) }

// check returns an error if the mount of a layer does not show a file of the lowest layer.
func (s store) check(id string) error {
	dir, err := s.Get(id, graphdriver.MountOpts{})
	if err != nil {
		return err
	}
	if !exists(dir, base().file(0)) {
		return fmt.Errorf("the mount of %s shows nothing", id)
	}
	return s.Put(id)
}

// mostRefusals is how often in a row a Get may fail.
const mostRefusals = 1000

// getPutPairs mounts and unmounts a layer. With the in-tree driver, several processes use one xino file, which aufs makes
// and unlinks at each mount. aufs refuses a mount that comes at the wrong moment. getPutPairs then tries again, and counts
// the refusals.
func (s store) getPutPairs(id string) (refused int, err error) {
	for range pairs {
		for try := 1; ; try++ {
			dir, err := s.Get(id, graphdriver.MountOpts{})
			if err == nil && !exists(dir, base().file(0)) {
				return refused, fmt.Errorf("the mount of %s shows nothing", id)
			}
			if err == nil {
				break
			}
			refused++
			if s.kind.name != InTree || try == mostRefusals {
				return refused, err
			}
			// The driver has counted the failed mount too.
			_ = s.Put(id)
		}
		if err := s.Put(id); err != nil {
			return refused, err
		}
	}
	return refused, nil
}

// atOnce calls do in n goroutines at the same time.
func atOnce(n int, do func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Add(1)
		go func() {
			defer all.Done()
			errs[i] = do(i)
		}()
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
