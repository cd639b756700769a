//go:build linux

package bench

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

// BenchmarkImageStore is BenchmarkGetPut with the layers below the containers in an additional image store.
func BenchmarkImageStore(b *testing.B) {
	parents := bySize([]int{2, 30}, []int{2, 30}, []int{2})
	for _, n := range parents {
		b.Run(fmt.Sprintf("parents=%d", n), func(b *testing.B) {
			forEach(b, driver.hasImageStores, func(b *testing.B, d driver) {
				images := d.fixture(b, "images", func(s store) { s.makeStack(b, slices.Max(parents), base()) })
				d.options = append(slices.Clone(d.options), d.registered+".imagestore="+filepath.Dir(images.root))
				s := d.fixture(b, fmt.Sprintf("on-images-%d", n), func(s store) {
					must(b, s.CreateReadWrite(containerID(n), stackID(n-1), nil))
				})
				s.getPut(b, containerID(n), func(dir string) { shows(b, dir, base().file(0), base().size) })
			})
		})
	}
}

// hasImageStores reports whether the driver can use layers of an additional image store.
func (d driver) hasImageStores() bool {
	return d.registered == "overlay" || d.name == Ours || d.name == OursOnOverlay
}
