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

// A driver is a driver to compare.
type driver struct {
	name       string // the value of the key "driver"
	registered string // the driver's name in the storage library
	options    []string
	needsAufs  bool
	copies     bool // each layer has all files of its parent
}

// kernelHasAufs reports whether aufs can be mounted.
func kernelHasAufs() bool {
	filesystems, err := os.ReadFile("/proc/filesystems")
	return err == nil && strings.Contains(string(filesystems), "\taufs\n")
}

// drivers returns the drivers that this program contains and this kernel supports.
func drivers() []driver {
	var usable []driver
	for _, d := range compiledDrivers() {
		if !d.needsAufs || kernelHasAufs() {
			usable = append(usable, d)
		}
	}
	return usable
}

// driverNamed returns the driver of that name, if this program contains it and this kernel supports
// it.
func driverNamed(name string) (d driver, ok bool) {
	all := drivers()
	i := slices.IndexFunc(all, func(d driver) bool { return d.name == name })
	if i < 0 {
		return driver{}, false
	}
	return all[i], true
}

// forEach runs a benchmark on each driver that wants reports true for.
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

// all accepts every driver.
func all(driver) bool { return true }

// layered accepts the drivers whose layers hold only their changes.
func layered(d driver) bool { return !d.copies }

// A store is an open driver.
type store struct {
	graphdriver.Driver
	kind driver
	root string
}

// openStore opens the store of the given name until the benchmark ends. Another process may have
// made the store.
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
	// The overlay driver does not make its root directory.
	if err := os.MkdirAll(root, 0o700); err != nil {
		return store{}, err
	}
	inner, err := graphdriver.GetDriver(d.registered, graphdriver.Options{
		Root: root, RunRoot: filepath.Join(runRoots(), d.name, name), DriverOptions: d.options,
	})
	return store{Driver: inner, kind: d, root: filepath.Join(root, d.registered)}, err
}

// place returns the directory of the store of the given name.
func (d driver) place(name string) string { return filepath.Join(workDir(), d.name, name) }

// fixture opens a store that is the same in all rounds. The first caller fills it.
func (d driver) fixture(b *testing.B, name string, fill func(s store)) store {
	b.Helper()
	s := d.openStore(b, name)
	filled := filepath.Join(d.place(name), "filled")
	if _, err := os.Stat(filled); errors.Is(err, os.ErrNotExist) {
		fill(s)
		// Overlayfs syncs the file system at each unmount, so sync it now.
		settled(b)
		must(b, os.WriteFile(filled, nil, 0o600))
	}
	return s
}

// filesOf returns the directory in which the driver keeps the files of a layer.
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
