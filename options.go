//go:build linux

package aufs

import (
	"fmt"
	"path/filepath"
	"strings"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/parsers"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/sirupsen/logrus"
)

// config is the configuration from the options file, storage.conf and --storage-opt.
type config struct {
	driver.Config
	// imageStore is the directory where the library keeps its records of images, if that is not the graph root.
	imageStore string
	// optionsFile is the path of the options file that was read, or "".
	optionsFile string
	own         libraryOptions
}

// defaultConfig returns the configuration that applies without any options.
func defaultConfig() config {
	return config{Config: driver.Config{Backend: backend.Aufs}}
}

// loadConfig parses the options in the options file, and then those that the library passes on, which replace them.
func loadConfig(options graphdriver.Options) (config, error) {
	c := newConfig(options)
	path := optionsFile()
	fromFile, err := readOptionsFile(path)
	if err != nil {
		return c, fmt.Errorf("aufs: reading the options file: %w", err)
	}
	for _, option := range fromFile {
		// Only options that the library passes on can be for another driver.
		key, _, _ := strings.Cut(strings.ToLower(option), "=")
		if _, own := ownOption(key); !own {
			return c, fmt.Errorf("aufs: options file %s: option %q is for another driver", path, option)
		}
	}
	if err := c.setAll(fromFile); err != nil {
		return c, fmt.Errorf("aufs: options file %s: %w", path, err)
	}
	if fromFile != nil {
		c.optionsFile = path
	}
	if err := c.setAll(options.DriverOptions); err != nil {
		return c, fmt.Errorf("aufs: %w", err)
	}
	return c, nil
}

// parseConfig is loadConfig without an options file.
func parseConfig(options graphdriver.Options) (config, error) {
	c := newConfig(options)
	if err := c.setAll(options.DriverOptions); err != nil {
		return c, fmt.Errorf("aufs: %w", err)
	}
	return c, nil
}

// newConfig returns the configuration that applies before any option of the driver is set.
func newConfig(options graphdriver.Options) config {
	c := defaultConfig()
	c.RunRoot = options.RunRoot
	if options.ImageStore != "" {
		// The image store has only the library's records of images. The layers stay in the graph root, as with the
		// library's own aufs driver.
		logrus.Debugf("aufs: the layers of the image store %s are in the graph root", options.ImageStore)
		c.imageStore = filepath.Clean(options.ImageStore)
	}
	return c
}

// setAll sets options, each of the form "key=value". Keys are case-insensitive, as in the other drivers. If a key
// occurs several times, the last one counts, but image stores add up. An empty value stands for the default.
func (c *config) setAll(options []string) error {
	for _, option := range options {
		written, value, err := parsers.ParseKeyValueOpt(option)
		if err != nil {
			return fmt.Errorf("option %q has no value: write the option as NAME=VALUE", option)
		}
		name, own := ownOption(strings.ToLower(written))
		if !own {
			continue
		}
		known, err := c.set(name, value)
		if err != nil {
			return fmt.Errorf("option %q: %w", option, err)
		}
		if !known {
			return fmt.Errorf("unknown option %q; the options are %s", written, knownOptions)
		}
	}
	return nil
}
