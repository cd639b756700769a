//go:build linux && !storage_v1.63

package aufs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/types"
	"golang.org/x/sys/unix"
)

// loadOptions reads a storage.conf with these lines, in the way of version v1.62 of the library, which has no types.LoadStoreOptions.
func loadOptions(t *testing.T, lines ...string) types.StoreOptions {
	t.Helper()
	path := filepath.Join(t.TempDir(), "storage.conf")
	must(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	t.Setenv("STORAGE_DRIVER", "")
	must(t, os.Unsetenv("STORAGE_DRIVER"))
	var options types.StoreOptions
	must(t, types.ReloadConfigurationFile(path, &options))
	return options
}

// TestStorageConf checks the ways to give the driver options. This version of the library puts the driver's name before each option.
func TestStorageConf(t *testing.T) {
	head := []string{`[storage]`, `driver = "aufs"`, `graphroot = "/g"`, `runroot = "/r"`}
	for name, c := range map[string]struct {
		lines   []string
		env     string
		backend backend.Name
		flags   uintptr
	}{
		"nothing":                    {nil, "", backend.Aufs, 0},
		"mountopt for all drivers":   {[]string{`[storage.options]`, `mountopt = "nodev,noexec"`}, "", backend.Aufs, unix.MS_NODEV | unix.MS_NOEXEC},
		"for another driver":         {[]string{`[storage.options.overlay]`, `mountopt = "metacopy=on"`}, "", backend.Aufs, 0},
		"STORAGE_OPTS":               {nil, "backend=auto,mountopt=nodev", backend.Auto, unix.MS_NODEV},
		"STORAGE_OPTS with the name": {nil, "aufs.backend=overlay,aufs.mountopt=nosuid", backend.Overlay, unix.MS_NOSUID},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("STORAGE_OPTS", c.env)
			if c.env == "" {
				must(t, os.Unsetenv("STORAGE_OPTS"))
			}
			options := loadOptions(t, append(head[:len(head):len(head)], c.lines...)...)
			got, err := parseConfig(graphdriver.Options{DriverOptions: options.GraphDriverOptions})
			must(t, err)
			if options.GraphDriverName != driverName || got.Backend != c.backend || got.Mount.Flags != c.flags {
				t.Errorf("driver %q: %q say backend %s, %+v", options.GraphDriverName, options.GraphDriverOptions, got.Backend, got.Mount)
			}
		})
	}
}

// TestStorageConfWithAllOptions checks that optionCases has all options that the library makes of a storage.conf with every option.
func TestStorageConfWithAllOptions(t *testing.T) {
	t.Setenv("STORAGE_OPTS", "")
	must(t, os.Unsetenv("STORAGE_OPTS"))
	options := loadOptions(t, everyOption(`[storage]`, `driver = "aufs"`, `graphroot = "/g"`, `runroot = "/r"`)).GraphDriverOptions
	if len(options) < 8 {
		t.Errorf("there are %d: %q", len(options), options)
	}
	if unknown := unknownToTheTable(t, options); unknown != nil {
		t.Errorf("nobody knows %q", unknown)
	}
}
