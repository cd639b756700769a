//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/types"
	"golang.org/x/sys/unix"
)

// TestStorageConf checks that optionCases has all options that the library makes of a storage.conf with every option.
func TestStorageConf(t *testing.T) {
	// Whoever runs the tests may have set them.
	for _, variable := range []string{"STORAGE_DRIVER", "STORAGE_OPTS"} {
		t.Setenv(variable, "")
		must(t, os.Unsetenv(variable))
	}
	for name, driver := range map[string]string{"named": `driver = "aufs"`, "by priority": `driver_priority = ["aufs"]`} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "storage.conf")
			must(t, os.WriteFile(path, []byte(everyOption("[storage]", driver)), 0o600))
			var options types.StoreOptions
			must(t, types.ReloadConfigurationFile(path, &options))
			// There are eight options, and mountopt a second time for a driver that is named.
			if n := len(options.GraphDriverOptions); n < 8 {
				t.Errorf("there are %d: %q", n, options.GraphDriverOptions)
			}
			if unknown := unknownToTheTable(t, options.GraphDriverOptions); unknown != nil {
				t.Errorf("nobody knows %q", unknown)
			}
		})
	}
}

// TestStorageConfMountopt checks that mountopt from this driver's section, which comes last, replaces mountopt for all
// drivers.
func TestStorageConfMountopt(t *testing.T) {
	c, err := parseConfig(graphdriver.Options{DriverOptions: []string{"aufs.mountopt=nodev", "aufs.mountopt=nosuid,volatile"}})
	must(t, err)
	if c.Mount.Flags != unix.MS_NOSUID || !c.Mount.Volatile {
		t.Errorf("got %+v", c.Mount)
	}
}
