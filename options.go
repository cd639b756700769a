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

// config is the configuration from storage.conf or --storage-opt.
type config struct {
	driver.Config
	// imageStore is the directory where the library keeps its records of images, if that is not the graph root.
	imageStore string
	own        libraryOptions
}

// defaultConfig returns the configuration that applies without any options.
func defaultConfig() config {
	return config{Config: driver.Config{Backend: backend.Aufs}}
}

// parseConfig parses the driver's options, each of the form "key=value". Keys are case-insensitive, as in the other
// drivers. If a key occurs several times, the last one counts, but image stores add up. An empty value stands for the default.
func parseConfig(options graphdriver.Options) (config, error) {
	c := defaultConfig()
	c.RunRoot = options.RunRoot
	if options.ImageStore != "" {
		// The image store has only the library's records of images. The layers stay in the graph root, as with the
		// library's own aufs driver.
		logrus.Debugf("aufs: the layers of the image store %s are in the graph root", options.ImageStore)
		c.imageStore = filepath.Clean(options.ImageStore)
	}
	for _, option := range options.DriverOptions {
		written, value, err := parsers.ParseKeyValueOpt(option)
		if err != nil {
			return c, fmt.Errorf("aufs: option %q has no value: write the option as NAME=VALUE", option)
		}
		name, own := ownOption(strings.ToLower(written))
		if !own {
			continue
		}
		known, err := c.set(name, value)
		if err != nil {
			return c, fmt.Errorf("aufs: option %q: %w", option, err)
		}
		if !known {
			return c, fmt.Errorf("aufs: unknown option %q; the options are %s", written, knownOptions)
		}
	}
	return c, nil
}
