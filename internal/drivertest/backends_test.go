//go:build linux

package drivertest

import (
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// testBackends are the backends that tests can run on.
var testBackends = storetest.Backends[backend.Name]{
	Aufs: backend.Aufs, Overlay: backend.Overlay,
	Try: func(home string, name backend.Name) error {
		d, err := driver.Open(home, configFor(name))
		if err != nil {
			return err
		}
		return d.Cleanup()
	},
}

// hostBackends returns the backends that tests run on.
func hostBackends(t *testing.T) []backend.Name {
	t.Helper()
	return testBackends.OfHost(t)
}

// hasBackend reports whether tests run on the backend name.
func hasBackend(t *testing.T, name backend.Name) bool {
	t.Helper()
	return testBackends.Has(t, name)
}

// forEachBackend runs test once for each backend of the host, in a subtest with the name of the backend.
func forEachBackend(t *testing.T, test func(t *testing.T, name backend.Name)) {
	t.Helper()
	testBackends.ForEach(t, test)
}

// onOverlay runs test in a subtest with the name of the overlay backend.
func onOverlay(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	testBackends.On(t, backend.Overlay, test, backend.Overlay)
}

// onAufs runs test in a subtest with the name of the aufs backend.
func onAufs(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	testBackends.On(t, backend.Aufs, test, backend.Aufs)
}

// onBoth runs test, which needs both backends, in a subtest with the name of aufs.
func onBoth(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	testBackends.On(t, backend.Aufs, test, backend.Aufs, backend.Overlay)
}

// configFor returns the configuration with which tests open a store.
func configFor(name backend.Name) driver.Config {
	return driver.Config{Backend: name, Library: testLibrary()}
}

// withMountOptions sets the options of mounts for which Get gives no others.
func withMountOptions(options string) func(c *driver.Config) {
	return func(c *driver.Config) {
		o, err := backend.ParseMountOptions([]string{options})
		if err != nil {
			panic(err)
		}
		c.Mount = o
	}
}

// idmapsOf returns the mappings of these users and groups.
func idmapsOf(uids, gids []idmap.Map) *idmap.Mappings { return &idmap.Mappings{UIDs: uids, GIDs: gids} }

// whiteoutMetaPrefix begins the names that aufs keeps for itself.
const whiteoutMetaPrefix = whiteout.Prefix + whiteout.Prefix
