//go:build linux

package aufs

import (
	"os"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/drivers/graphtest"
	"github.com/containers/storage/pkg/reexec"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child process, which runs this same program.
	if reexec.Init() {
		return
	}
	storetest.NoOptionsFile()
	os.Exit(m.Run())
}

// testBackends are the backends that the tests run on.
var testBackends = storetest.Backends[backend.Name]{
	Aufs: backend.Aufs, Overlay: backend.Overlay,
	Try: func(home string, name backend.Name) error {
		d, err := Init(home, optionsFor(name))
		if err != nil {
			return err
		}
		return d.Cleanup()
	},
}

// forEachBackend runs test once for each backend that the host has, in a subtest of its name.
func forEachBackend(t *testing.T, test func(t *testing.T, name backend.Name)) {
	t.Helper()
	testBackends.ForEach(t, test)
}

func optionsFor(name backend.Name, more ...string) graphdriver.Options {
	return graphdriver.Options{DriverOptions: append([]string{"aufs.backend=" + string(name)}, more...)}
}

// TestGraph runs the storage library's own tests for graph drivers.
func TestGraph(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
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
