//go:build linux

package aufs

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
)

// The storage library passes on what storage.conf has in [storage.options], even if the driver does not support it. An
// option that the driver cannot honour is an error, and the error says what to write instead. A store that does not
// work as its owner asked is worse than one that does not open.

// optionSetters maps the name of each option that the driver supports to the function that sets it.
var optionSetters = map[string]func(c *config, value string) error{
	"mountopt":             (*config).setMountOptions,
	"backend":              (*config).setBackend,
	"ignore_chown_errors":  func(c *config, value string) error { return setBool(&c.IgnoreChownErrors, value) },
	"skip_mount_home":      func(c *config, value string) error { return setBool(&c.SkipMountHome, value) },
	"imagestore":           (*config).setImageStores,
	"additionalimagestore": (*config).setImageStores,
	"use_composefs":        (*config).setComposefs,
	"size":                 func(c *config, value string) error { return c.setLimit("size", value) },
	"inodes":               func(c *config, value string) error { return c.setLimit("inodes", value) },
}

// refusedOptions maps the name of each option that the driver refuses to the text of the error, which says why. The place of the option
// stands for %s.
var refusedOptions = map[string]string{
	"mount_program": "this driver mounts by system calls alone: remove mount_program from %s; " +
		"aufs.backend=overlay mounts with the kernel's overlayfs",
	"force_mask":           "files of a layer have the modes that the archive of the layer says: remove force_mask from %s",
	"additionallayerstore": "this driver has no additional layer stores: remove additionallayerstores from %s",
}

// set sets the option with this name, without the driver's name before it. known is false if there is no such option.
func (c *config) set(name, value string) (known bool, err error) {
	if set := optionSetters[name]; set != nil {
		return true, set(c, value)
	}
	refused, found := refusedOptions[name]
	if !found {
		return c.own.set(name, value)
	}
	if value != "" {
		return true, fmt.Errorf(refused, c.place)
	}
	return true, nil
}

func (c *config) setMountOptions(value string) (err error) {
	c.Mount, err = backend.ParseMountOptions([]string{value})
	return err
}

func (c *config) setBackend(value string) error {
	switch b := backend.Name(value); b {
	case backend.Aufs, backend.Overlay, backend.Auto:
		c.Backend = b
		return nil
	case "":
		c.Backend = defaultConfig().Backend
		return nil
	}
	return fmt.Errorf("there is no backend %q: choose aufs, overlay or auto", value)
}

// setImageStores adds the directories in a list to the additional image stores. The library passes on one option for each value of
// additionalimagestores, so the option adds to earlier ones. An empty value removes all. The library's own image store is not
// added, because it has no layers in it.
func (c *config) setImageStores(value string) error {
	if value == "" {
		c.ImageStores = nil
		return nil
	}
	for _, dir := range strings.Split(value, ",") {
		clean := filepath.Clean(dir)
		if c.imageStore != "" && clean == c.imageStore {
			continue
		}
		if err := driver.CheckImageStore(clean); err != nil {
			key := "imagestore"
			if c.place == storageOptions {
				key = "additionalimagestores"
			}
			return fmt.Errorf("%w: remove %s from %s in %s, or put a store there", err, dir, key, c.place)
		}
		if !slices.Contains(c.ImageStores, clean) {
			c.ImageStores = append(c.ImageStores, clean)
		}
	}
	return nil
}

// setLimit sets a limit of the quota of the layers that are made to be mounted writable. An empty value is no limit,
// and so is 0.
func (c *config) setLimit(key, value string) error {
	if value == "" {
		value = "0"
	}
	_, err := c.Limits.Set(key, value)
	return err
}

func (c *config) setComposefs(value string) error {
	wanted := false
	if err := setBool(&wanted, value); err != nil || !wanted {
		return err
	}
	return fmt.Errorf("this driver does not mount with composefs: remove use_composefs from %s", c.place)
}

// setBool parses a value as the library's drivers do. An empty value is false.
func setBool(b *bool, value string) error {
	if value == "" {
		*b = false
		return nil
	}
	parsed, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", value)
	}
	*b = parsed
	return nil
}
