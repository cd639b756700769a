//go:build linux

package bench

import (
	"fmt"
	"slices"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
)

// base returns the lowest layer of a stack whose depth alone matters.
func base() tree { return tree{files: 10, size: 10} }

// BenchmarkGetPut mounts and unmounts containers with more and more layers below them. These layers are never mounted themselves. A
// driver that copies has nothing to mount. The time of the kernel alone is measured as well.
func BenchmarkGetPut(b *testing.B) {
	parents := bySize([]int{1, 2, 30, 120, 500}, []int{1, 2, 30, 120}, []int{1, 4})
	open := func(b *testing.B, d driver) store {
		b.Helper()
		return d.fixture(b, "stack", func(s store) {
			s.makeStack(b, slices.Max(parents), base())
			for _, n := range parents {
				must(b, s.CreateReadWrite(containerID(n), stackID(n-1), nil))
			}
		})
	}
	for _, n := range parents {
		b.Run(fmt.Sprintf("parents=%d", n), func(b *testing.B) {
			look := func(dir string) { shows(b, dir, base().file(0), base().size) }
			forEach(b, layered, func(b *testing.B, d driver) {
				s := open(b, d)
				s.canMount(b, containerID(n), n)
				s.getPut(b, containerID(n), look)
			})
			if d, ok := driverNamed(Ours); ok {
				b.Run("driver="+Floor, func(b *testing.B) { benchmarkBare(b, open(b, d), containerID(n), look) })
			}
			if d, ok := driverNamed(OursOnOverlay); ok {
				b.Run("driver="+FloorOverlay, func(b *testing.B) { benchmarkBareOverlay(b, open(b, d), containerID(n), look) })
			}
		})
	}
}

// containerID returns the id of the container with that many layers below it.
func containerID(parents int) string { return idOf("container %d", parents) }

// canMount mounts a layer once. On a kernel that accepts only a page of options, this module's driver supports about two
// hundred layers on overlayfs, so deeper stacks are skipped there.
func (s store) canMount(b *testing.B, id string, parents int) {
	b.Helper()
	const always = 127
	_, err := s.Get(id, graphdriver.MountOpts{})
	if err != nil && parents > always && s.kind.name == OursOnOverlay {
		b.Skipf("this kernel cannot mount so many: %v", err)
	}
	must(b, err)
	must(b, s.Put(id))
}

// getPut is a loop over Get and Put of a layer. The check of the mount is not timed.
func (s store) getPut(b *testing.B, id string, look func(dir string)) {
	b.Helper()
	look(s.get(b, id))
	must(b, s.Put(id))
	for b.Loop() {
		dir := s.get(b, id)
		b.StopTimer()
		look(dir)
		b.StartTimer()
		must(b, s.Put(id))
	}
}
