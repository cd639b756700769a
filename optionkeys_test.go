//go:build linux

package aufs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/backend"
)

// optionCase is one option that the storage library passes on. Its name does not include the driver's.
type optionCase struct {
	name string
	// good are the values that the driver accepts, besides the empty one.
	good []string
	// bad maps the values that the driver refuses to what the error says, besides the name and the value.
	bad map[string][]string
}

// optionCases are all options that the library passes on to a driver from [storage.options], and the options of this
// driver alone.
var optionCases = []optionCase{
	{"mountopt", []string{"nodev", "nodev,noexec"}, map[string][]string{"metacopy=on": {"not known"}}},
	{"backend", []string{"aufs", "overlay", "auto"}, map[string][]string{"zfs": {"aufs, overlay or auto"}}},
	{"ignore_chown_errors", []string{"true", "false", "1"}, map[string][]string{"maybe": {"true nor false"}}},
	{"skip_mount_home", []string{"true", "false", "0"}, map[string][]string{"maybe": {"true nor false"}}},
	{"use_composefs", []string{"false"}, map[string][]string{"true": {"[storage.options]", "remove"}, "maybe": {"true nor false"}}},
	{"imagestore", nil, notImageStores},
	{"additionalimagestore", nil, notImageStores},
	{"additionallayerstore", nil, map[string][]string{"/layers:ref": {"additionallayerstores", "[storage.options]", "remove"}}},
	{"mount_program", nil, map[string][]string{"/bin/true": {"[storage.options]", "remove", "aufs.backend=overlay"}}},
	{"force_mask", nil, map[string][]string{"700": {"[storage.options]", "remove"}, "shared": {"[storage.options]", "remove"}}},
	{"size", []string{"10G", "1.5 GiB", "4096", "0"}, map[string][]string{"10Q": {"no size"}, "-1": {"no size"}, "9000p": {"too large"}}},
	{"inodes", []string{"1000", "0"}, map[string][]string{"10k": {"no number of inodes"}, "-1": {"no number of inodes"}}},
}

// notImageStores are values of the options for additional image stores.
var notImageStores = map[string][]string{
	"/images":      {"additionalimagestores", "[storage.options]", "remove", "/images: no such file"},
	"images":       {"additionalimagestores", "remove", "not absolute"},
	"/etc,":        {"remove", "not absolute"},
	"/etc/passwd":  {"remove", "/etc/passwd: not a directory"},
	"/etc,/images": {"remove", "/images: no such file"},
}

// TestOptionsOfTheLibrary tries each option with the driver's name and a dot before it, with the dot alone, and with
// neither.
func TestOptionsOfTheLibrary(t *testing.T) {
	for _, c := range optionCases {
		t.Run(c.name, func(t *testing.T) {
			for _, prefix := range []string{"aufs.", "AUFS.", ".", ""} {
				for _, value := range append(c.good, "") {
					if _, err := parseConfig(graphdriver.Options{DriverOptions: []string{prefix + c.name + "=" + value}}); err != nil {
						t.Errorf("%s%s=%s: %v", prefix, c.name, value, err)
					}
				}
				for value, words := range c.bad {
					_, err := parseConfig(graphdriver.Options{DriverOptions: []string{prefix + c.name + "=" + value}})
					wants(t, err, nil, append(words, c.name, value)...)
				}
			}
			_, err := parseConfig(graphdriver.Options{DriverOptions: []string{"aufs." + c.name}})
			wants(t, err, nil, "aufs."+c.name)
		})
	}
}

// TestEmptyOptionIsTheDefault checks that an empty value undoes what an earlier option of the same key said.
func TestEmptyOptionIsTheDefault(t *testing.T) {
	c, err := parseConfig(graphdriver.Options{DriverOptions: []string{
		"aufs.mountopt=nodev", "aufs.mountopt=", "aufs.backend=overlay", "aufs.backend=",
		"aufs.ignore_chown_errors=true", "aufs.ignore_chown_errors=", "aufs.skip_mount_home=true", "aufs.skip_mount_home=",
		"aufs.imagestore=" + emptyStore(t), "aufs.imagestore=",
	}})
	must(t, err)
	if c.Backend != backend.Aufs || c.Mount.Flags != 0 || c.IgnoreChownErrors || c.SkipMountHome || c.ImageStores != nil {
		t.Errorf("got %+v", c)
	}
}

// emptyStore returns the graph root of a store without layers.
func emptyStore(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	must(t, errors.Join(os.MkdirAll(filepath.Join(root, "aufs", "layers"), 0o700), os.Mkdir(filepath.Join(root, "aufs", "diff"), 0o700)))
	return root
}

// TestAdditionalImageStores checks that image stores add up, as the library passes on one option for each.
func TestAdditionalImageStores(t *testing.T) {
	a, b, c := emptyStore(t), emptyStore(t), emptyStore(t)
	got, err := parseConfig(graphdriver.Options{ImageStore: c, DriverOptions: []string{
		"aufs.imagestore=" + b + "/," + a, "additionalimagestore=" + a, ".imagestore=" + c,
	}})
	if err != nil || !slices.Equal(got.ImageStores, []string{b, a}) {
		t.Errorf("%q, %v", got.ImageStores, err)
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		d, err := Init(filepath.Join(t.TempDir(), "aufs"), optionsFor(name, "aufs.imagestore="+b, "aufs.imagestore="+a))
		must(t, err)
		if got := d.AdditionalImageStores(); !slices.Equal(got, []string{b, a}) {
			t.Errorf("%q", got)
		}
		must(t, d.Cleanup())
	})
}

// TestImageStore opens a store whose images the library keeps elsewhere. The layers must be in the graph root all the
// same.
func TestImageStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		images, home := t.TempDir(), filepath.Join(t.TempDir(), "home")
		o := optionsFor(name, "aufs.imagestore="+images+"/")
		o.ImageStore, o.RunRoot = images, t.TempDir()
		d, err := Init(home, o)
		must(t, err)
		must(t, errors.Join(d.Create("base", "", nil), d.Create("child", "base", nil)))
		dir, err := d.Get("child", graphdriver.MountOpts{})
		must(t, err)
		write(t, dir, files{"f": "f"})
		must(t, d.Put("child"))
		if _, err := os.Stat(filepath.Join(home, "diff/child/f")); err != nil {
			t.Error(err)
		}
		if entries, err := os.ReadDir(images); err != nil || len(entries) > 0 {
			t.Errorf("%v, %v", entries, err)
		}
		must(t, d.Cleanup())
	})
	for _, o := range []graphdriver.Options{
		{DriverOptions: []string{"aufs.imagestore=/other"}, ImageStore: "/images"},
		{DriverOptions: []string{"aufs.imagestore=/images,/other"}, ImageStore: "/images"},
	} {
		_, err := parseConfig(o)
		wants(t, err, nil, "imagestore", "remove /other ")
	}
}

// unknownToTheTable returns the options of a storage.conf that optionCases does not have.
func unknownToTheTable(t *testing.T, options []string) []string {
	t.Helper()
	var unknown []string
	for _, option := range options {
		key, _, _ := strings.Cut(option, "=")
		name, own := ownOption(key)
		if own && !slices.ContainsFunc(optionCases, func(c optionCase) bool { return c.name == name }) {
			unknown = append(unknown, key)
		}
	}
	return unknown
}

// everyOption returns a storage.conf that begins with head. It has every line from which the library makes an option of
// this driver, and some other lines.
func everyOption(head ...string) string {
	return strings.Join(append(head, `[storage.options]
additionalimagestores = ["/images"]
additionallayerstores = ["/layers:ref"]
size = "10G"
ignore_chown_errors = "true"
use_composefs = "true"
force_mask = 448
skip_mount_home = "true"
mount_program = "/bin/true"
mountopt = "nodev"
disable-volatile = true
[storage.options.pull_options]
enable_partial_images = "true"
[storage.options.overlay]
ignore_chown_errors = "true"
mountopt = "nodev"
mount_program = "/bin/true"
size = "10G"
inodes = "1000"
skip_mount_home = "true"
use_composefs = "true"
force_mask = "shared"
[storage.options.aufs]
mountopt = "nosuid"
`), "\n")
}

// TestOptionIgnoreChownErrors checks that a differ is told to ignore errors of chown.
func TestOptionIgnoreChownErrors(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for option, want := range map[string]bool{"true": true, "false": false} {
			d := newDriver(t, name, "aufs.ignore_chown_errors="+option)
			ignored := !want
			_, err := differOf(t, d).ApplyDiffWithDiffer(nil, untarDiffer{content: archiveBytes(t), ignored: &ignored})
			must(t, err)
			if ignored != want {
				t.Errorf("with %s the differ is told %v", option, ignored)
			}
		}
	})
}
