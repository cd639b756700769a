//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containers/storage/pkg/homedir"
	"github.com/containers/storage/pkg/unshare"
)

// The storage library has no section in storage.conf for this driver. So a file of the driver's own, beside
// storage.conf, can hold options for all programs of the host:
//
//	# a comment
//	backend = "auto"

// optionsFileName is the name of the options file.
const optionsFileName = "aufs.conf"

// optionsFile returns the path of the options file. It looks in the directories in which the library looks for storage.conf: the one that
// the environment names, the one of a user who is not root, and /etc/containers.
func optionsFile() string {
	if conf := os.Getenv("CONTAINERS_STORAGE_CONF"); conf != "" {
		return filepath.Join(filepath.Dir(conf), optionsFileName)
	}
	if unshare.IsRootless() && unshare.GetRootlessUID() != 0 {
		if dir, err := homedir.GetConfigHome(); err == nil {
			path := filepath.Join(dir, "containers", optionsFileName)
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return path
			}
		}
	}
	return "/etc/containers/" + optionsFileName
}

// readOptionsFile returns the options in the file, as "key=value". If there is no such file, the result is nil. A value can be in
// double quotes.
func readOptionsFile(path string) (options []string, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	options = []string{}
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if strings.HasPrefix(value, `"`) {
			value, err = strconv.Unquote(value)
		} else if strings.HasPrefix(value, "'") || strings.Contains(value, " #") {
			found = false
		}
		if !found || err != nil {
			return nil, fmt.Errorf("%s, line %d: %q is no option: write NAME = \"VALUE\", and comments in lines of their own", path, number, line)
		}
		options = append(options, key+"="+value)
	}
	return options, nil
}
