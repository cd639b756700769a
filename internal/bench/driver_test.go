//go:build linux

package bench

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
)

// A driver is one of those that are compared.
type driver struct {
	name       string // the value of the key "driver"
	registered string // what the storage library calls it
	options    []string
	needsAufs  bool
	copies     bool // each layer has all files of its parent
}

// kernelHasAufs tells if aufs can be mounted.
func kernelHasAufs() bool {
	filesystems, err := os.ReadFile("/proc/filesystems")
	return err == nil && strings.Contains(string(filesystems), "\taufs\n")
}

// drivers are those that this program has and this kernel can mount for.
func drivers() []driver {
	var usable []driver
	for _, d := range compiledDrivers() {
		if !d.needsAufs || kernelHasAufs() {
			usable = append(usable, d)
		}
	}
	return usable
}

// driverNamed is the driver of that name, if this program has it and this kernel can mount for it.
func driverNamed(name string) (d driver, ok bool) {
	all := drivers()
	i := slices.IndexFunc(all, func(d driver) bool { return d.name == name })
	if i < 0 {
		return driver{}, false
	}
	return all[i], true
}

// forEach runs a benchmark on each driver that wants it.
func forEach(b *testing.B, wants func(driver) bool, run func(b *testing.B, d driver)) {
	b.Helper()
	found := false
	for _, d := range drivers() {
		if wants(d) {
			found = true
			b.Run("driver="+d.name, func(b *testing.B) {
				b.ReportAllocs()
				run(b, d)
			})
		}
	}
	if !found {
		b.Skip("this program has no driver for it on this kernel")
	}
}

// all wants every driver.
func all(driver) bool { return true }

// layered wants those whose layers hold no more than what they change.
func layered(d driver) bool { return !d.copies }

// A store is a driver that is open.
type store struct {
	graphdriver.Driver
	kind driver
	root string
}

// openStore opens the store of the given name, which another process may have made, until the benchmark ends.
func (d driver) openStore(b *testing.B, name string) store {
	b.Helper()
	s, err := d.open(name)
	must(b, err)
	b.Cleanup(func() {
		if err := s.Cleanup(); err != nil {
			b.Errorf("Cleanup: %v", err)
		}
	})
	return s
}

// open opens the store of the given name.
func (d driver) open(name string) (store, error) {
	dir := d.place(name)
	root := filepath.Join(dir, "root")
	// The overlay driver does not make it.
	if err := os.MkdirAll(root, 0o700); err != nil {
		return store{}, err
	}
	inner, err := graphdriver.GetDriver(d.registered, graphdriver.Options{
		Root: root, RunRoot: filepath.Join(runRoots(), d.name, name), DriverOptions: d.options,
	})
	return store{Driver: inner, kind: d, root: filepath.Join(root, d.registered)}, err
}

// place is where a store of the given name is.
func (d driver) place(name string) string { return filepath.Join(workDir(), d.name, name) }

// fixture opens a store that is the same in all rounds. The first one that wants it makes it.
func (d driver) fixture(b *testing.B, name string, fill func(s store)) store {
	b.Helper()
	s := d.openStore(b, name)
	filled := filepath.Join(d.place(name), "filled")
	if _, err := os.Stat(filled); errors.Is(err, os.ErrNotExist) {
		fill(s)
		// Overlayfs syncs the file system when it is unmounted.
		settled(b)
		must(b, os.WriteFile(filled, nil, 0o600))
	}
	return s
}

// filesOf is the directory that has the files of a layer, as the driver keeps them.
func (s store) filesOf(id string) string {
	switch s.kind.registered {
	case "overlay":
		return filepath.Join(s.root, id, "diff")
	case "vfs":
		return filepath.Join(s.root, "dir", id)
	default:
		return filepath.Join(s.root, "diff", id)
	}
}
