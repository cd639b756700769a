//go:build linux

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A bareStack is what the kernel is told to mount a layer with aufs, and nothing else: in as few calls as the page allows that
// the kernel takes options in. No driver on aufs can take less.
type bareStack struct {
	target string
	calls  []string
	xino   string // of its own: two mounts with one make each other fail
}

// bare is the stack of a layer of this module's driver.
func (s store) bare(b *testing.B, id string) bareStack {
	b.Helper()
	parents, err := os.ReadFile(filepath.Join(s.root, "layers", id))
	must(b, err)
	// By the shortest path that leads to them from anywhere.
	diff, err := os.Open(filepath.Dir(s.filesOf(id)))
	must(b, err)
	b.Cleanup(func() { must(b, diff.Close()) })
	short := fmt.Sprintf("/proc/self/fd/%d/", diff.Fd())
	calls := []string{"br:" + short + id + "=rw"}
	for parent := range strings.FieldsSeq(string(parents)) {
		branch := short + parent + "=ro+wh"
		last := &calls[len(calls)-1]
		// With room for what the first call has beside the branches.
		if len(*last)+len(branch) > os.Getpagesize()-160 {
			calls = append(calls, "append:"+branch)
			continue
		}
		if len(calls) == 1 {
			*last += ":" + branch
		} else {
			*last += ",append:" + branch
		}
	}
	return bareStack{target: b.TempDir(), calls: calls, xino: "/dev/shm/aufs-bench-" + id}
}

func (s bareStack) mount() error {
	if err := unix.Mount("none", s.target, "aufs", 0, s.calls[0]+",dio,dirperm1,xino="+s.xino); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	for _, call := range s.calls[1:] {
		if err := unix.Mount("none", s.target, "aufs", unix.MS_REMOUNT, call); err != nil {
			return fmt.Errorf("remount: %w", err)
		}
	}
	return nil
}

func (s bareStack) unmount() error { return unix.Unmount(s.target, 0) }

// benchmarkBare mounts and unmounts a layer without a driver.
func benchmarkBare(b *testing.B, s store, id string) {
	b.Helper()
	stack := s.bare(b, id)
	b.ReportAllocs()
	for b.Loop() {
		must(b, stack.mount())
		b.StopTimer()
		shows(b, stack.target, base().file(0), base().size)
		b.StartTimer()
		must(b, stack.unmount())
	}
}

// benchmarkBareConcurrent has goroutines do so at the same time, each with a layer of its own.
func benchmarkBareConcurrent(b *testing.B, n int) {
	b.Helper()
	d, ok := driverNamed(Ours)
	if !ok {
		return
	}
	b.Run("driver="+Floor, func(b *testing.B) {
		s := d.forWorkers(b)
		stacks := make([]bareStack, n)
		for i := range stacks {
			stacks[i] = s.bare(b, workerID(i))
		}
		for b.Loop() {
			must(b, atOnce(n, func(i int) error {
				for range pairs {
					if err := stacks[i].mount(); err != nil {
						return err
					}
					if !exists(stacks[i].target, base().file(0)) {
						return fmt.Errorf("the mount of %s shows nothing", workerID(i))
					}
					if err := stacks[i].unmount(); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	})
}
