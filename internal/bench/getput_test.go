//go:build linux

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
)

// base is the lowest layer of a stack that is no more than deep.
func base() tree { return tree{files: 10, size: 10} }

// BenchmarkGetPut mounts and unmounts layers with more and more ancestors.
func BenchmarkGetPut(b *testing.B) {
	forEachStack(b, func(b *testing.B, s store, id string) {
		s.getPut(b, id, func(dir string) { shows(b, dir, base().file(0), base().size) })
	}, true)
}

// BenchmarkGetPutFirst does so without what this module's driver keeps of a stack from the first mount to the next. The
// others keep nothing.
func BenchmarkGetPutFirst(b *testing.B) {
	forEachStack(b, func(b *testing.B, s store, id string) {
		for b.Loop() {
			b.StopTimer()
			for _, cache := range []string{"overlay/twin", "whiteouts"} {
				must(b, os.RemoveAll(filepath.Join(s.root, cache)))
			}
			settled(b)
			b.StartTimer()
			dir := s.get(b, id)
			b.StopTimer()
			shows(b, dir, base().file(0), base().size)
			b.StartTimer()
			must(b, s.Put(id))
		}
	}, false)
}

// forEachStack runs a benchmark on containers with more and more ancestors, which are never mounted themselves. A driver that
// copies has nothing to mount. With floors, what the kernel takes by itself is measured as well.
func forEachStack(b *testing.B, run func(b *testing.B, s store, id string), floors bool) {
	b.Helper()
	branches := bySize([]int{2, 30, 127, 500}, []int{2, 30, 127}, []int{2, 5})
	stacks := func(b *testing.B, d driver) store {
		b.Helper()
		return d.fixture(b, "stack", func(s store) {
			s.makeStack(b, slices.Max(branches), base())
			for _, n := range branches {
				must(b, s.CreateReadWrite(containerID(n), stackID(n-2), nil))
			}
		})
	}
	for _, n := range branches {
		b.Run(fmt.Sprintf("branches=%d", n), func(b *testing.B) {
			forEach(b, layered, func(b *testing.B, d driver) {
				s := stacks(b, d)
				s.canMount(b, containerID(n), n)
				run(b, s, containerID(n))
			})
			if d, ok := driverNamed(Ours); ok && floors {
				b.Run("driver="+Floor, func(b *testing.B) { benchmarkBare(b, stacks(b, d), containerID(n)) })
			}
			if d, ok := driverNamed(OursOnOverlay); ok && floors {
				b.Run("driver="+FloorOverlay, func(b *testing.B) {
					s := stacks(b, d)
					benchmarkBareOverlay(b, s, containerID(n), nil, func(dir string) { shows(b, dir, base().file(0), base().size) })
				})
			}
		})
	}
}

// containerID is the id of the container with so many branches.
func containerID(branches int) string { return idOf("container %d", branches) }

// canMount mounts a layer once. Where the kernel takes no more than a page of options, this module's driver can have about
// two hundred layers on overlayfs: deeper stacks are skipped there.
func (s store) canMount(b *testing.B, id string, branches int) {
	b.Helper()
	const always = 127
	_, err := s.Get(id, graphdriver.MountOpts{})
	if err != nil && branches > always && s.kind.name == OursOnOverlay {
		b.Skipf("this kernel cannot mount so many: %v", err)
	}
	must(b, err)
	must(b, s.Put(id))
}

// getPut is a loop over Get and Put of a layer. What the mount shows is looked at outside of the time.
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

// BenchmarkGetPutWritten mounts and unmounts a container in which files were written and deleted.
func BenchmarkGetPutWritten(b *testing.B) {
	for _, n := range bySize([]int{10, 1000, 10000}, []int{10, 1000}, []int{10}) {
		b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
			content := tree{files: n, size: 10}
			open := func(b *testing.B, d driver) store {
				b.Helper()
				return d.fixture(b, fmt.Sprintf("written-%d", n), func(s store) {
					s.makeStack(b, 2, content.below())
					s.makeLayer(b, idOf("written"), stackID(1), content.onTop())
				})
			}
			look := func(b *testing.B) func(dir string) {
				b.Helper()
				return func(dir string) {
					shows(b, dir, content.file(n-1), content.size)
					hides(b, dir, gonerFile(0))
				}
			}
			forEach(b, layered, func(b *testing.B, d driver) { open(b, d).getPut(b, idOf("written"), look(b)) })
			if d, ok := driverNamed(OursOnOverlay); ok {
				b.Run("driver="+FloorOverlay, func(b *testing.B) {
					benchmarkBareOverlay(b, open(b, d), idOf("written"), content.onTop().goneFiles(), look(b))
				})
			}
		})
	}
}
