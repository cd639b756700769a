//go:build linux

package aufs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/drivers/graphtest"
	"github.com/containers/storage/pkg/reexec"
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child of this very program.
	if reexec.Init() {
		return
	}
	os.Exit(m.Run())
}

// backendsVariable names, in the environment, the backends that the tests have to run on, with blanks between them. If
// it is not set they run on those that the host has, which has to be one at least.
const backendsVariable = "AUFS_TEST_BACKENDS"

// hostBackends are the backends that tests run on.
func hostBackends(t *testing.T) []backendName {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	if names, ok := os.LookupEnv(backendsVariable); ok {
		var backends []backendName
		for _, name := range strings.Fields(names) {
			backends = append(backends, backendName(name))
		}
		return backends
	}
	var backends []backendName
	var errs []error
	for _, name := range []backendName{backendAufs, backendOverlay} {
		d, err := newDriver(filepath.Join(t.TempDir(), "home"), optionsFor(name))
		if err == nil {
			backends = append(backends, name)
			err = d.Cleanup()
		}
		errs = append(errs, err)
	}
	if len(backends) == 0 {
		t.Fatalf("root, and no backend: %v", errors.Join(errs...))
	}
	return backends
}

// hasBackend tells if tests run on the backend name.
func hasBackend(t *testing.T, name backendName) bool {
	t.Helper()
	return slices.Contains(hostBackends(t), name)
}

// forEachBackend runs test once for each backend that the host has, in a subtest of its name.
func forEachBackend(t *testing.T, test func(t *testing.T, name backendName)) {
	t.Helper()
	for _, name := range hostBackends(t) {
		t.Run(string(name), func(t *testing.T) { test(t, name) })
	}
}

// onOverlay runs test in a subtest with the name of the overlay backend.
func onOverlay(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	onBackend(t, backendOverlay, test, backendOverlay)
}

// onAufs runs test in a subtest with the name of the aufs backend.
func onAufs(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	onBackend(t, backendAufs, test, backendAufs)
}

// onBoth runs test, which needs both backends, in a subtest with the name of aufs.
func onBoth(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	onBackend(t, backendAufs, test, backendAufs, backendOverlay)
}

func onBackend(t *testing.T, name backendName, test func(t *testing.T), needed ...backendName) {
	t.Helper()
	backends := hostBackends(t)
	t.Run(string(name), func(t *testing.T) {
		for _, need := range needed {
			if !slices.Contains(backends, need) {
				t.Skipf("this needs the backends %v, and tests run on %v", needed, backends)
			}
		}
		test(t)
	})
}

func optionsFor(name backendName, more ...string) graphdriver.Options {
	return graphdriver.Options{DriverOptions: append([]string{"aufs.backend=" + string(name)}, more...)}
}

// TestGraph runs the storage library's own tests for graph drivers.
func TestGraph(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		option := "aufs.backend=" + string(name)
		for _, c := range []struct {
			name string
			test func(t *testing.T)
		}{
			{"CreateEmpty", func(t *testing.T) { graphtest.DriverTestCreateEmpty(t, driverName, option) }},
			{"CreateBase", func(t *testing.T) { graphtest.DriverTestCreateBase(t, driverName, option) }},
			{"CreateSnap", func(t *testing.T) { graphtest.DriverTestCreateSnap(t, driverName, option) }},
			{"CreateFromTemplate", func(t *testing.T) { graphtest.DriverTestCreateFromTemplate(t, driverName, option) }},
			{"Echo", func(t *testing.T) { graphtest.DriverTestEcho(t, driverName, option) }},
			{"ListLayers", func(t *testing.T) { graphtest.DriverTestListLayers(t, driverName, option) }},
			{"DeepLayerRead", func(t *testing.T) { graphtest.DriverTestDeepLayerRead(t, 128, driverName, option) }},
			{"DiffApply", func(t *testing.T) { graphtest.DriverTestDiffApply(t, 10, driverName, option) }},
			{"Changes", func(t *testing.T) { graphtest.DriverTestChanges(t, driverName, option) }},
		} {
			t.Run(c.name, c.test)
		}
	})
}
