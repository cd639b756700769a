//go:build linux

package aufs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"golang.org/x/sys/unix"
)

// writeOptionsFile makes an options file with this content beside a storage.conf, and returns its path.
func writeOptionsFile(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("CONTAINERS_STORAGE_CONF", filepath.Join(dir, "storage.conf"))
	path := filepath.Join(dir, optionsFileName)
	must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// TestOptionsFile reads options files, and sets other options after them.
func TestOptionsFile(t *testing.T) {
	for name, test := range map[string]struct {
		content string
		options []string
		backend backend.Name
		flags   uintptr
	}{
		"empty":          {"", nil, backend.Aufs, 0},
		"comments":       {"# backend = auto\n\n  # another\n", nil, backend.Aufs, 0},
		"plain":          {"backend=auto\nmountopt=nodev,nosuid\n", nil, backend.Auto, unix.MS_NODEV | unix.MS_NOSUID},
		"quoted":         {"  backend = \"overlay\"  \r\n mountopt\t= \"nodev\"", nil, backend.Overlay, unix.MS_NODEV},
		"empty value":    {"backend = auto\nbackend =\n", nil, backend.Aufs, 0},
		"driver's name":  {"aufs.backend = auto\n", nil, backend.Auto, 0},
		"then an option": {"backend = auto\nmountopt = nodev\n", []string{"aufs.backend=overlay"}, backend.Overlay, unix.MS_NODEV},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeOptionsFile(t, test.content)
			c, err := parseConfig(graphdriver.Options{DriverOptions: test.options})
			if err != nil || c.Backend != test.backend || c.Mount.Flags != test.flags || c.optionsFile != path {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
	t.Setenv("CONTAINERS_STORAGE_CONF", filepath.Join(t.TempDir(), "storage.conf"))
	if c, err := parseConfig(graphdriver.Options{}); err != nil || c.Backend != backend.Aufs || c.optionsFile != "" {
		t.Errorf("without a file: %+v, %v", c, err)
	}
}

// TestOptionsFileErrors has options files in which something is wrong.
func TestOptionsFileErrors(t *testing.T) {
	for content, words := range map[string][]string{
		"backend = auto\nnodev\n":    {"line 2", `"nodev"`, `NAME = "VALUE"`},
		"backend = \"auto\n":         {"line 1", `"backend = \"auto"`},
		"backend = \"auto\" # why\n": {"line 1"},
		"backend = zfs\n":            {`option "backend=zfs"`, "aufs, overlay or auto"},
		"colour = red\n":             {`unknown option "colour"`, knownOptions},
		"= auto\n":                   {`unknown option ""`},
		"backend = 'auto'\n":         {"line 1", "NAME ="},
		"backend = auto # why\n":     {"line 1", "comments in lines of their own"},
		"overlay.mountopt = nodev\n": {"overlay.mountopt"},
	} {
		path := writeOptionsFile(t, content)
		_, err := parseConfig(graphdriver.Options{})
		wants(t, err, nil, append(words, "aufs: ", path)...)
		_, err = Init(filepath.Join(t.TempDir(), "home"), graphdriver.Options{})
		wants(t, err, nil, path)
	}
	path := writeOptionsFile(t, "")
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o700))
	_, err := parseConfig(graphdriver.Options{})
	wants(t, err, unix.EISDIR, path)
}

// TestRefusedInOptionsFile has options in the options file that the driver refuses. The error says where to remove them: in the file.
func TestRefusedInOptionsFile(t *testing.T) {
	for option, word := range map[string]string{
		"mount_program = /usr/bin/fuse-overlayfs": "remove mount_program from ",
		"force_mask = shared":                     "remove force_mask from ",
		"additionallayerstore = /layers:ref":      "remove additionallayerstores from ",
		"use_composefs = true":                    "remove use_composefs from ",
		"imagestore = /nonexistent":               "remove /nonexistent from imagestore in ",
		"additionalimagestore = /nonexistent":     "remove /nonexistent from imagestore in ",
	} {
		path := writeOptionsFile(t, option+"\n")
		_, err := parseConfig(graphdriver.Options{})
		wants(t, err, nil, word+path)
		if strings.Contains(err.Error(), storageOptions) {
			t.Errorf("%v", err)
		}
	}
}

// TestOptionsFileInStatus looks for the options file in the status of a driver.
func TestOptionsFileInStatus(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		path := writeOptionsFile(t, "backend = "+string(name)+"\n")
		d, err := Init(filepath.Join(t.TempDir(), "home"), graphdriver.Options{RunRoot: t.TempDir()})
		must(t, err)
		for _, pair := range [][2]string{{"Backend", string(name)}, {"Options File", path}} {
			if !slices.Contains(d.Status(), pair) {
				t.Errorf("%q is not in %q", pair, d.Status())
			}
		}
		must(t, d.Cleanup())
	})
}
