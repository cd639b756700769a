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

// storageOptions is the place in storage.conf of the options that the library passes on.
const storageOptions = "[storage.options]"

// config is the configuration from the options file, storage.conf and --storage-opt.
type config struct {
	driver.Config
	// imageStore is the directory where the library keeps its records of images, if that is not the graph root.
	imageStore string
	// optionsFile is the path of the options file that was read, or "".
	optionsFile string
	// place is where the options come from that are set now, for errors.
	place string
	own   libraryOptions
}

// defaultConfig returns the configuration that applies without any options.
func defaultConfig() config {
	return config{Config: driver.Config{Backend: backend.Aufs}}
}

// parseConfig parses the options in the options file, and then those that the library passes on, which replace them.
func parseConfig(options graphdriver.Options) (config, error) {
	c := defaultConfig()
	c.RunRoot = options.RunRoot
	if options.ImageStore != "" {
		// The image store has only the library's records of images. The layers stay in the graph root, as with the
		// library's own aufs driver.
		logrus.Debugf("aufs: the layers of the image store %s are in the graph root", options.ImageStore)
		c.imageStore = filepath.Clean(options.ImageStore)
	}
	path := optionsFile()
	fromFile, err := readOptionsFile(path)
	if err != nil {
		return c, fmt.Errorf("aufs: reading the options file: %w", err)
	}
	c.place = path
	if err := c.setAll(fromFile, false); err != nil {
		return c, fmt.Errorf("aufs: options file %s: %w", path, err)
	}
	if fromFile != nil {
		c.optionsFile = path
	}
	c.place = storageOptions
	if err := c.setAll(options.DriverOptions, true); err != nil {
		return c, fmt.Errorf("aufs: %w", err)
	}
	return c, nil
}

// setAll sets options, each of the form "key=value". Keys are case-insensitive, as in the other drivers. If a key
// occurs several times, the last one counts, but image stores add up. An empty value stands for the default. Only if
// the library passes the options on, some can be for another driver.
func (c *config) setAll(options []string, passedOn bool) error {
	for _, option := range options {
		written, value, err := parsers.ParseKeyValueOpt(option)
		if err != nil {
			return fmt.Errorf("option %q has no value: write the option as NAME=VALUE", option)
		}
		name, own := ownOption(strings.ToLower(written))
		if !own && passedOn {
			continue
		}
		if !own {
			return fmt.Errorf("option %q is for another driver", option)
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
