//go:build linux

package aufs

import (
	"fmt"
	"path/filepath"
	"reflect"
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

// TestSyncMode opens a store with each mode. Version v1.62 of the library has no modes, but accepts the option.
func TestSyncMode(t *testing.T) {
	names := []string{"none", "filesystem"}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for option, want := range map[string]int64{
			"aufs.sync=none":       0,
			"aufs.sync=filesystem": 1,
			"sync=Filesystem":      1,
			"vfs.sync=filesystem":  0,
			"overlay.sync=junk":    0,
		} {
			d, err := Init(filepath.Join(t.TempDir(), "home"), optionsFor(name, option))
			must(t, err)
			got := reflect.ValueOf(d).MethodByName("SyncMode").Call(nil)[0]
			if got.Int() != want {
				t.Errorf("%s: %v", option, got)
			}
			if text, ok := got.Interface().(fmt.Stringer); ok && text.String() != names[want] {
				t.Errorf("%s: the library calls it %s", option, text)
			}
			must(t, d.Cleanup())
		}
		_, err := Init(filepath.Join(t.TempDir(), "home"), optionsFor(name, "aufs.sync=junk"))
		wants(t, err, nil, "aufs.sync=junk", "invalid sync mode")
	})
}

// TestOptionSync checks the one option that this library has and github.com/containers/storage does not.
func TestOptionSync(t *testing.T) {
	for value, want := range map[string]int{"": 0, "none": 0, "filesystem": 1} {
		c, err := parseConfig(graphdriver.Options{DriverOptions: []string{"sync=filesystem", "aufs.sync=" + value}})
		if err != nil || c.own.sync != want {
			t.Errorf("%q: %v, %v", value, c.own.sync, err)
		}
	}
	_, err := parseConfig(graphdriver.Options{DriverOptions: []string{"sync=often"}})
	wants(t, err, nil, "sync", "often")
}
