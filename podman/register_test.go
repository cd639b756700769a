//go:build linux

package aufs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	graphdriver "go.podman.io/storage/drivers"
)

// TestSecondDriver registers a second driver of the same name, as a program that already has one would.
func TestSecondDriver(t *testing.T) {
	if err := graphdriver.Register(driverName, Init); err == nil || !strings.Contains(err.Error(), driverName) {
		t.Errorf("two drivers of one name: %v", err)
	}
}

// TestSyncMode opens a store with each mode.
func TestSyncMode(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, c := range []struct {
			option string
			want   graphdriver.SyncMode
		}{
			{"aufs.sync=none", graphdriver.SyncModeNone},
			{"aufs.sync=filesystem", graphdriver.SyncModeFilesystem},
			{"sync=Filesystem", graphdriver.SyncModeFilesystem},
			{"vfs.sync=filesystem", graphdriver.SyncModeNone},
			{"overlay.sync=junk", graphdriver.SyncModeNone},
		} {
			d, err := Init(filepath.Join(t.TempDir(), "home"), optionsFor(name, c.option))
			must(t, err)
			if got := d.SyncMode(); got != c.want {
				t.Errorf("%s: %v", c.option, got)
			}
			must(t, d.Cleanup())
		}
		_, err := Init(filepath.Join(t.TempDir(), "home"), optionsFor(name, "aufs.sync=junk"))
		wants(t, err, nil, "aufs.sync=junk", "invalid sync mode")
	})
}
