//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/types"
	"golang.org/x/sys/unix"
)

// loadOptions reads a storage.conf with the given lines, as programs do.
func loadOptions(t *testing.T, lines ...string) types.StoreOptions {
	t.Helper()
	path := filepath.Join(t.TempDir(), "storage.conf")
	must(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	t.Setenv("CONTAINERS_STORAGE_CONF", path)
	// Of whoever runs the tests.
	t.Setenv("STORAGE_DRIVER", "")
	options, err := types.LoadStoreOptions(types.LoadOptions{})
	must(t, err)
	return options
}

// TestStorageConf is about the ways to give the driver options that work, and about the one that does not.
func TestStorageConf(t *testing.T) {
	head := []string{`[storage]`, `driver = "aufs"`, `graphroot = "/g"`, `runroot = "/r"`}
	for name, c := range map[string]struct {
		lines   []string
		env     string
		backend backendName
		flags   uintptr
	}{
		"nothing": {nil, "", backendAufs, 0},
		"mountopt for all drivers": {
			[]string{`[storage.options]`, `mountopt = "nodev,noexec"`}, "", backendAufs, unix.MS_NODEV | unix.MS_NOEXEC,
		},
		"for another driver":          {[]string{`[storage.options.overlay]`, `mountopt = "metacopy=on"`, `sync = "filesystem"`}, "", backendAufs, 0},
		"a section of its own":        {[]string{`[storage.options.aufs]`, `mountopt = "nodev"`}, "", backendAufs, 0},
		"STORAGE_OPTS":                {nil, "backend=auto,mountopt=nodev", backendAuto, unix.MS_NODEV},
		"STORAGE_OPTS for any driver": {nil, ".backend=overlay", backendOverlay, 0},
		"STORAGE_OPTS with the name":  {nil, "aufs.backend=overlay,aufs.mountopt=nosuid", backendOverlay, unix.MS_NOSUID},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("STORAGE_OPTS", c.env)
			if c.env == "" {
				must(t, os.Unsetenv("STORAGE_OPTS"))
			}
			options := loadOptions(t, append(head[:len(head):len(head)], c.lines...)...)
			if options.GraphDriverName != driverName {
				t.Errorf("the driver is %q", options.GraphDriverName)
			}
			got, err := parseConfig(graphdriver.Options{DriverOptions: options.GraphDriverOptions})
			must(t, err)
			if got.backend != c.backend || got.mount.flags != c.flags {
				t.Errorf("%q say backend %s, flags %#x", options.GraphDriverOptions, got.backend, got.mount.flags)
			}
		})
	}
}

// TestStorageConfErrors is about options that some other driver has.
func TestStorageConfErrors(t *testing.T) {
	t.Setenv("STORAGE_OPTS", "")
	must(t, os.Unsetenv("STORAGE_OPTS"))
	for _, line := range []string{`size = "10G"`, `mount_program = "/bin/true"`, `ignore_chown_errors = "true"`} {
		options := loadOptions(t, `[storage]`, `driver = "aufs"`, `graphroot = "/g"`, `runroot = "/r"`, `[storage.options]`, line)
		_, err := parseConfig(graphdriver.Options{DriverOptions: options.GraphDriverOptions})
		wants(t, err, nil, "unknown option", `"`+strings.Fields(line)[0]+`"`, knownOptions)
	}
	options := loadOptions(t, `[storage]`, `driver = "aufs"`, `graphroot = "/g"`, `runroot = "/r"`, `[storage.options]`, `additionalimagestores = ["/images"]`)
	_, err := parseConfig(graphdriver.Options{DriverOptions: options.GraphDriverOptions})
	wants(t, err, nil, "/images", "additionalimagestores")
}
