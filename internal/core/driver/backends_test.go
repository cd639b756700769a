//go:build linux

package driver

import (
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// testBackends are those that tests run on.
var testBackends = storetest.Backends[backend.Name]{
	Aufs: backend.Aufs, Overlay: backend.Overlay,
	Try: func(home string, name backend.Name) error {
		d, err := Open(home, configFor(name))
		if err != nil {
			return err
		}
		return d.Cleanup()
	},
}

// hostBackends are the backends that tests run on.
func hostBackends(t *testing.T) []backend.Name {
	t.Helper()
	return testBackends.OfHost(t)
}

// hasBackend tells if tests run on the backend name.
func hasBackend(t *testing.T, name backend.Name) bool {
	t.Helper()
	return testBackends.Has(t, name)
}

// forEachBackend runs test once for each backend that the host has, in a subtest of its name.
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

// configFor is how tests open a store.
func configFor(name backend.Name) Config {
	return Config{Backend: name, Library: testLibrary()}
}

// withMountOptions are the options that mounts have unless a Get says others.
func withMountOptions(options string) func(c *Config) {
	return func(c *Config) {
		o, err := backend.ParseMountOptions([]string{options})
		if err != nil {
			panic(err)
		}
		c.Mount = o
	}
}

// idmapsOf are mappings of users and of groups.
func idmapsOf(uids, gids []idmap.Map) *idmap.Mappings { return &idmap.Mappings{UIDs: uids, GIDs: gids} }

// whiteoutMetaPrefix begins the names that are aufs's own.
const whiteoutMetaPrefix = whiteout.Prefix + whiteout.Prefix
