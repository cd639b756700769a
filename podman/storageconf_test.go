//go:build linux

package aufs

import (
	"os"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	graphdriver "go.podman.io/storage/drivers"
	"golang.org/x/sys/unix"
)

// TestStorageConf checks the ways to give the driver options. A section of its own in storage.conf has no effect.
func TestStorageConf(t *testing.T) {
	head := []string{`[storage]`, `driver = "aufs"`, `graphroot = "/g"`, `runroot = "/r"`}
	for name, c := range map[string]struct {
		lines   []string
		env     string
		backend backend.Name
		flags   uintptr
	}{
		"nothing": {nil, "", backend.Aufs, 0},
		"mountopt for all drivers": {
			[]string{`[storage.options]`, `mountopt = "nodev,noexec,volatile"`}, "", backend.Aufs, unix.MS_NODEV | unix.MS_NOEXEC,
		},
		"for another driver":          {[]string{`[storage.options.overlay]`, `mountopt = "metacopy=on"`, `sync = "filesystem"`}, "", backend.Aufs, 0},
		"a section of its own":        {[]string{`[storage.options.aufs]`, `mountopt = "nodev"`}, "", backend.Aufs, 0},
		"STORAGE_OPTS":                {nil, "backend=auto,mountopt=nodev", backend.Auto, unix.MS_NODEV},
		"STORAGE_OPTS for any driver": {nil, ".backend=overlay", backend.Overlay, 0},
		"STORAGE_OPTS with the name":  {nil, "aufs.backend=overlay,aufs.mountopt=nosuid", backend.Overlay, unix.MS_NOSUID},
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
			volatile := strings.Contains(strings.Join(c.lines, "\n"), "volatile")
			if got.Backend != c.backend || got.Mount.Flags != c.flags || got.Mount.Volatile != volatile {
				t.Errorf("%q say backend %s, %+v", options.GraphDriverOptions, got.Backend, got.Mount)
			}
		})
	}
}

// TestStorageConfErrors checks the options that this driver cannot honour.
func TestStorageConfErrors(t *testing.T) {
	t.Setenv("STORAGE_OPTS", "")
	must(t, os.Unsetenv("STORAGE_OPTS"))
	head := []string{`[storage]`, `driver = "aufs"`, `graphroot = "/g"`, `runroot = "/r"`, `[storage.options]`}
	for line, words := range map[string][]string{
		`mount_program = "/bin/true"`:           {"mount_program", "/bin/true"},
		`force_mask = 448`:                      {"force_mask", "700"},
		`additionalimagestores = ["/images"]`:   {"/images", "additionalimagestores"},
		`additionallayerstores = ["/layers:r"]`: {"/layers", "additionallayerstores"},
	} {
		options := loadOptions(t, append(head[:len(head):len(head)], line)...)
		_, err := parseConfig(graphdriver.Options{DriverOptions: options.GraphDriverOptions})
		wants(t, err, nil, append(words, "remove", "[storage.options]")...)
	}
	options := loadOptions(t, append(head[:len(head):len(head)], `size = "10G"`)...)
	limited, err := parseConfig(graphdriver.Options{DriverOptions: options.GraphDriverOptions})
	if err != nil || limited.Limits.Bytes != 10<<30 {
		t.Errorf("%+v, %v", limited, err)
	}
	for _, line := range []string{`ignore_chown_errors = "true"`, `skip_mount_home = "true"`} {
		options := loadOptions(t, append(head[:len(head):len(head)], line)...)
		c, err := parseConfig(graphdriver.Options{DriverOptions: options.GraphDriverOptions})
		if err != nil || c.IgnoreChownErrors == c.SkipMountHome {
			t.Errorf("%s: %+v, %v", line, c, err)
		}
	}
	_, err = parseConfig(graphdriver.Options{DriverOptions: []string{"override_kernel_check=1"}})
	wants(t, err, nil, "unknown option", "override_kernel_check", knownOptions)
}

// TestStorageConfWithAllOptions checks that optionCases has all options that the library makes of a storage.conf with
// every option.
func TestStorageConfWithAllOptions(t *testing.T) {
	t.Setenv("STORAGE_OPTS", "")
	must(t, os.Unsetenv("STORAGE_OPTS"))
	options := loadOptions(t, everyOption(`[storage]`, `driver = "aufs"`, `graphroot = "/g"`, `runroot = "/r"`)).GraphDriverOptions
	if len(options) < fewestOptions {
		t.Errorf("there are %d: %q", len(options), options)
	}
	if unknown := unknownToTheTable(t, options); unknown != nil {
		t.Errorf("nobody knows %q", unknown)
	}
}
