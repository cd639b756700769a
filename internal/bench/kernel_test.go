//go:build linux

package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// benchmarkKernel mounts and unmounts the branches of a layer with nothing but mount(2), in as few calls as the page allows that
// the kernel takes options in: no driver on aufs can take less.
func benchmarkKernel(b *testing.B, s store, id string) {
	b.Helper()
	parents, err := os.ReadFile(filepath.Join(s.root, "layers", id))
	must(b, err)
	calls := []string{"br:" + s.filesOf(id) + "=rw"}
	for parent := range strings.FieldsSeq(string(parents)) {
		branch := s.filesOf(parent) + "=ro+wh"
		last := &calls[len(calls)-1]
		// With room for what the first call has beside the branches.
		if len(*last)+len(branch) > os.Getpagesize()-100 {
			calls = append(calls, "append:"+branch)
			continue
		}
		if len(calls) == 1 {
			*last += ":" + branch
		} else {
			*last += ",append:" + branch
		}
	}
	target := b.TempDir()
	b.ReportAllocs()
	for b.Loop() {
		must(b, unix.Mount("none", target, "aufs", 0, calls[0]+",dio,dirperm1,xino=/dev/shm/aufs-bench-kernel"))
		for _, call := range calls[1:] {
			must(b, unix.Mount("none", target, "aufs", unix.MS_REMOUNT, call))
		}
		b.StopTimer()
		shows(b, target, base().file(0), base().size)
		b.StartTimer()
		must(b, unix.Unmount(target, 0))
	}
}
