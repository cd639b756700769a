//go:build linux

package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A bareStack holds the arguments with which the kernel alone mounts a layer with aufs, in as few calls as aufs allows. No driver
// on aufs can take less time.
type bareStack struct {
	target   string
	branches []string // uppermost first, by the shortest path that works from any directory
	xino     string   // not shared: two mounts with the same file make each other fail
}

// mostInCall is the most branches and options that one call passes to aufs: more overflow a page and crash the kernel.
const mostInCall = 64

// bare returns the stack of a layer of this module's driver, for a mount in its store like the driver's own. It is valid until done
// is called.
func (s store) bare(id string) (stack bareStack, done func(), err error) {
	parents, err := os.ReadFile(filepath.Join(s.root, "layers", id))
	if err != nil {
		return bareStack{}, nil, err
	}
	target, err := os.MkdirTemp(s.root, "bare-")
	if err != nil {
		return bareStack{}, nil, err
	}
	diff, err := os.Open(filepath.Dir(s.filesOf(id)))
	if err != nil {
		return bareStack{}, nil, errors.Join(err, os.Remove(target))
	}
	short := fmt.Sprintf("/proc/self/fd/%d/", diff.Fd())
	stack = bareStack{target: target, branches: []string{short + id + "=rw"}, xino: "/dev/shm/aufs-bench-" + id}
	for parent := range strings.FieldsSeq(string(parents)) {
		stack.branches = append(stack.branches, short+parent+"=ro+wh")
	}
	return stack, func() { _, _ = diff.Close(), os.Remove(target) }, nil
}

// mount uses mount(2) if the options fit into a page, and otherwise fsconfig(2), which takes more in one call.
func (s bareStack) mount() error {
	data := "br:" + strings.Join(s.branches, ":") + ",dio,dirperm1,xino=" + s.xino
	if len(data) < os.Getpagesize() && len(s.branches) < mostInCall-3 {
		if err := unix.Mount("none", s.target, "aufs", 0, data); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		return nil
	}
	fsfd, err := unix.Fsopen("aufs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fsfd)
	n := min(mostInCall-3, len(s.branches))
	err = errors.Join(unix.FsconfigSetString(fsfd, "br", s.branches[0]), appendBranches(fsfd, s.branches[1:n]),
		unix.FsconfigSetFlag(fsfd, "dio"), unix.FsconfigSetFlag(fsfd, "dirperm1"), unix.FsconfigSetString(fsfd, "xino", s.xino))
	if err == nil {
		err = unix.FsconfigCreate(fsfd)
	}
	if err != nil {
		return fmt.Errorf("fsconfig: %w", err)
	}
	mount, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	defer unix.Close(mount)
	for rest := s.branches[n:]; len(rest) > 0; {
		n := min(len(rest), mostInCall)
		if err := reconfigure(mount, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return unix.MoveMount(mount, "", unix.AT_FDCWD, s.target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func appendBranches(fsfd int, branches []string) error {
	for _, branch := range branches {
		if err := unix.FsconfigSetString(fsfd, "append", branch); err != nil {
			return err
		}
	}
	return nil
}

// reconfigure adds branches to a mount.
func reconfigure(mount int, branches []string) error {
	fsfd, err := unix.Fspick(mount, "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("fspick: %w", err)
	}
	defer unix.Close(fsfd)
	if err = appendBranches(fsfd, branches); err == nil {
		err = unix.FsconfigReconfigure(fsfd)
	}
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	return nil
}

func (s bareStack) unmount() error { return unix.Unmount(s.target, 0) }

// pairs mounts and unmounts the stack as often as a worker mounts its layer.
func (s bareStack) pairs() error {
	for range pairs {
		if err := s.mount(); err != nil {
			return err
		}
		if !exists(s.target, base().file(0)) {
			return fmt.Errorf("the mount at %s shows nothing", s.target)
		}
		if err := s.unmount(); err != nil {
			return err
		}
	}
	return nil
}

// benchmarkBare mounts and unmounts a layer without a driver.
func benchmarkBare(b *testing.B, s store, id string, look func(dir string)) {
	b.Helper()
	stack, done, err := s.bare(id)
	must(b, err)
	defer done()
	b.ReportAllocs()
	for b.Loop() {
		must(b, stack.mount())
		b.StopTimer()
		look(stack.target)
		b.StartTimer()
		must(b, stack.unmount())
	}
}

// benchmarkBareConcurrent has goroutines mount and unmount at the same time, each a layer of its own.
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
			stack, done, err := s.bare(workerID(i))
			must(b, err)
			defer done()
			stacks[i] = stack
		}
		for b.Loop() {
			must(b, atOnce(n, func(i int) error { return stacks[i].pairs() }))
		}
	})
}

// benchmarkBareProcesses has processes mount and unmount at the same time, each a layer of its own.
func benchmarkBareProcesses(b *testing.B, n int) {
	b.Helper()
	d, ok := driverNamed(Ours)
	if !ok {
		return
	}
	b.Run("driver="+Floor, func(b *testing.B) {
		d.forWorkers(b)
		workers := startWorkers(b, Floor, n)
		for b.Loop() {
			workers.doPairs(b)
		}
	})
}
