//go:build linux

package bench

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/quota"
)

// limits are the options of a layer with a quota that the benchmarks do not use up.
func limits() *graphdriver.CreateOpts {
	return &graphdriver.CreateOpts{StorageOpt: map[string]string{"size": "1G", "inodes": "100000"}}
}

// forEachLimited runs a benchmark on this module's drivers, and on each other driver that can give layers a quota.
func forEachLimited(b *testing.B, run func(b *testing.B, d driver)) {
	b.Helper()
	if err := quota.Check(workDir()); err != nil {
		b.Skipf("there are no project quotas in %s: %v", workDir(), err)
	}
	forEach(b, func(d driver) bool { return d.name == Ours || d.name == OursOnOverlay || d.limits(b) }, run)
}

// limits reports whether the driver can give a layer a quota. The overlay driver cannot if this program is built without cgo.
func (d driver) limits(b *testing.B) bool {
	b.Helper()
	s, err := d.open("limits")
	must(b, err)
	id := idOf("limits")
	if err = s.CreateReadWrite(id, "", limits()); err == nil {
		must(b, s.Remove(id))
	}
	must(b, s.Cleanup())
	return err == nil
}

// BenchmarkCreateLimited makes a layer with a quota, and removes it.
func BenchmarkCreateLimited(b *testing.B) {
	forEachLimited(b, func(b *testing.B, d driver) {
		s := d.fixture(b, "limited", func(s store) { must(b, s.Create(stackID(0), "", nil)) })
		id := idOf("new")
		for b.Loop() {
			must(b, s.CreateReadWrite(id, stackID(0), limits()))
			must(b, s.Remove(id))
		}
	})
}

// BenchmarkDiskUsageLimited computes the size of a container with a quota.
func BenchmarkDiskUsageLimited(b *testing.B) {
	files := bySize([]int{10000}, []int{1000}, []int{10})[0]
	b.Run("files="+strconv.Itoa(files), func(b *testing.B) {
		forEachLimited(b, func(b *testing.B, d driver) {
			id := idOf("limited")
			s := d.fixture(b, "limited-"+strconv.Itoa(files), func(s store) {
				must(b, s.Create(stackID(0), "", nil))
				must(b, s.CreateReadWrite(id, stackID(0), limits()))
				dir := s.get(b, id)
				for i := range files {
					must(b, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), []byte("a file"), 0o644))
				}
				must(b, s.Put(id))
			})
			s.get(b, id)
			for b.Loop() {
				usage, err := s.ReadWriteDiskUsage(id)
				must(b, err)
				if usage.InodeCount < int64(files) || usage.Size < int64(files) {
					b.Fatalf("the usage is %+v", *usage)
				}
			}
			must(b, s.Put(id))
		})
	})
}
