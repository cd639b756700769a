//go:build linux

package storetest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// backendsVariable is the environment variable that names the backends that the tests have to run on, separated by blanks. If it is not
// set, the tests run on the backends that the host has, and there must be at least one.
const backendsVariable = "AUFS_TEST_BACKENDS"

// Backends are the backends that tests run on, each in a subtest of its name.
type Backends[N ~string] struct {
	// Aufs and Overlay are the names of all backends.
	Aufs, Overlay N
	// Try opens a store on a backend, in a directory that does not exist yet, and closes it.
	Try func(home string, name N) error
}

// OfHost returns the backends that tests run on.
func (b Backends[N]) OfHost(t *testing.T) []N {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	var backends []N
	if names, ok := os.LookupEnv(backendsVariable); ok {
		for _, name := range strings.Fields(names) {
			backends = append(backends, N(name))
		}
		return backends
	}
	var errs []error
	for _, name := range []N{b.Aufs, b.Overlay} {
		err := b.Try(filepath.Join(t.TempDir(), "home"), name)
		if err == nil {
			backends = append(backends, name)
		}
		errs = append(errs, err)
	}
	if len(backends) == 0 {
		t.Fatalf("root, and no backend: %v", errors.Join(errs...))
	}
	return backends
}

// Has reports whether tests run on the backend name.
func (b Backends[N]) Has(t *testing.T, name N) bool {
	t.Helper()
	return slices.Contains(b.OfHost(t), name)
}

// ForEach runs test once for each backend of the host.
func (b Backends[N]) ForEach(t *testing.T, test func(t *testing.T, name N)) {
	t.Helper()
	for _, name := range b.OfHost(t) {
		t.Run(string(name), func(t *testing.T) { test(t, name) })
	}
}

// On runs test in a subtest with the name of one backend, if tests run on all of the needed backends.
func (b Backends[N]) On(t *testing.T, name N, test func(t *testing.T), needed ...N) {
	t.Helper()
	backends := b.OfHost(t)
	t.Run(string(name), func(t *testing.T) {
		for _, need := range needed {
			if !slices.Contains(backends, need) {
				t.Skipf("this needs the backends %v, and tests run on %v", needed, backends)
			}
		}
		test(t)
	})
}
