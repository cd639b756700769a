//go:build linux

package bench

import (
	"fmt"
	"testing"

	"github.com/moby/sys/mountinfo"
)

// BenchmarkCleanup unmounts containers that are still mounted. They share a base with many files.
func BenchmarkCleanup(b *testing.B) {
	const containers = 50
	n := bySize(containers, containers, 3)
	for _, files := range bySize([]int{1000, 10000}, []int{1000}, []int{10}) {
		b.Run(fmt.Sprintf("containers=%d/files=%d", n, files), func(b *testing.B) {
			// A driver that copies has nothing to unmount.
			forEach(b, layered, func(b *testing.B, d driver) {
				name := fmt.Sprintf("cleanup-%d", files)
				d.fixture(b, name, func(s store) { fillForCleanup(b, s, n, files) })
				for b.Loop() {
					b.StopTimer()
					s, err := d.open(name)
					must(b, err)
					for i := range n {
						s.get(b, idOf("container %d", i))
					}
					mounted(b, s, n)
					b.StartTimer()
					err = s.Cleanup()
					b.StopTimer()
					must(b, err)
					mounted(b, s, 0)
					b.StartTimer()
				}
			})
		})
	}
}

func fillForCleanup(b *testing.B, s store, containers, files int) {
	b.Helper()
	s.makeStack(b, 1, tree{files: files, size: 10, depth: 2})
	for i := range containers {
		must(b, s.CreateReadWrite(idOf("container %d", i), stackID(0), nil))
	}
}

// mounted fails the benchmark unless n layers are mounted.
func mounted(b *testing.B, s store, n int) {
	b.Helper()
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "aufs" && m.FSType != "overlay", false
	})
	must(b, err)
	found := 0
	for _, m := range mounts {
		if within(s.root, m.Mountpoint) {
			found++
		}
	}
	if found != n {
		b.Fatalf("%d layers are mounted, and should be %d", found, n)
	}
}
