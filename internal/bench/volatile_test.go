//go:build linux

package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
)

// BenchmarkVolatile mounts a container, writes a file and syncs it, as package managers do, and unmounts the container. With volatile=yes the
// container is one that nobody needs after a power cut. Drivers with aufs make no difference between the two.
func BenchmarkVolatile(b *testing.B) {
	const parents = 2
	size := bySize(8<<20, 8<<20, 1<<20)
	content := make([]byte, size)
	for _, volatile := range []bool{false, true} {
		key := map[bool]string{false: "no", true: "yes"}[volatile]
		id := idOf("volatile %s", key)
		b.Run(fmt.Sprintf("volatile=%s/MB=%d", key, size>>20), func(b *testing.B) {
			forEach(b, layered, func(b *testing.B, d driver) {
				s := d.fixture(b, "volatile-"+key, func(s store) {
					s.makeStack(b, parents, base())
					must(b, s.CreateReadWrite(id, stackID(parents-1), nil))
				})
				for b.Loop() {
					dir, err := s.Get(id, graphdriver.MountOpts{Volatile: volatile})
					must(b, err)
					must(b, writeSynced(filepath.Join(dir, "written"), content))
					must(b, s.Put(id))
				}
				dir := s.get(b, id)
				shows(b, dir, base().file(0), base().size)
				shows(b, dir, "written", int64(size))
				must(b, s.Put(id))
			})
		})
	}
}

// writeSynced writes a file, and asks the kernel to put it on the disk.
func writeSynced(path string, content []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
