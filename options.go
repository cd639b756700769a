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

// config is what storage.conf, or --storage-opt, says.
type config struct {
	driver.Config
	// imageStore is the directory in which the library keeps its records of images, if that is not the graph root.
	imageStore string
	own        libraryOptions
}

// defaultConfig holds where nothing is said.
func defaultConfig() config {
	return config{Config: driver.Config{Backend: backend.Aufs}}
}

// parseConfig reads the driver's options, "key=value" each. Keys are case-insensitive, as in the other drivers. The last one of a
// key counts; an empty value stands for the default.
func parseConfig(options graphdriver.Options) (config, error) {
	c := defaultConfig()
	c.RunRoot = options.RunRoot
	if options.ImageStore != "" {
		// The library keeps its records there. The layers stay in the graph root, as with the library's own aufs driver.
		logrus.Debugf("aufs: the layers of the image store %s are in the graph root", options.ImageStore)
		c.imageStore = filepath.Clean(options.ImageStore)
	}
	for _, option := range options.DriverOptions {
		written, value, err := parsers.ParseKeyValueOpt(option)
		if err != nil {
			return c, fmt.Errorf("aufs: option %q: %w", option, err)
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
			return c, fmt.Errorf("aufs: unknown option %q; there are %s", written, knownOptions)
		}
	}
	return c, nil
}
