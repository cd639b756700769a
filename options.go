//go:build linux

package aufs

import (
	"fmt"
	"path/filepath"
	"strings"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/parsers"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// backendName says how layers are mounted.
type backendName string

const (
	// backendAufs mounts with aufs, or not at all.
	backendAufs backendName = "aufs"
	// backendOverlay mounts with overlayfs.
	backendOverlay backendName = "overlay"
	// backendAuto takes aufs where it can be had and overlayfs where it cannot.
	backendAuto backendName = "auto"
)

// config is what storage.conf, or --storage-opt, says.
type config struct {
	backend backendName
	mount   mountOptions
	// ignoreChownErrors: files of an archive whose owner cannot be set belong to whoever unpacks them.
	ignoreChownErrors bool
	// skipMountHome: the driver does not make home a private mount.
	skipMountHome bool
	// imageStore is the directory in which the library keeps its records of images, if that is not the graph root.
	imageStore string
	library    libraryOptions
}

// defaultConfig holds where nothing is said.
func defaultConfig() config {
	return config{backend: backendAufs}
}

// parseConfig reads the driver's options, "key=value" each. Keys are case-insensitive, as in the other drivers. The last one of a
// key counts; an empty value stands for the default.
func parseConfig(options graphdriver.Options) (config, error) {
	c := defaultConfig()
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

// mountOptions are the options of one mount.
type mountOptions struct {
	// flags of mount(2); MS_RDONLY among them.
	flags uintptr
	// data are options for aufs itself, in the order given. Overlayfs has none of them, and they change how aufs works,
	// not what a layer holds: the overlay backend leaves them out.
	data []string
}

func (o mountOptions) readOnly() bool { return o.flags&unix.MS_RDONLY != 0 }

// has tells if the user said how he wants the aufs option name, in either sense.
func (o mountOptions) has(name string) bool {
	for _, option := range o.data {
		if settingOf(option) == name {
			return true
		}
	}
	return false
}

// mountFlag is an option that is a flag of mount(2): aufs does not take it as data.
type mountFlag struct {
	flag  uintptr
	clear bool
}

// mountFlags are the flags of mount(8) that belong to one mount. Those of propagation, and of bind mounts, do not.
var mountFlags = map[string]mountFlag{
	"ro":            {unix.MS_RDONLY, false},
	"rw":            {unix.MS_RDONLY, true},
	"nodev":         {unix.MS_NODEV, false},
	"dev":           {unix.MS_NODEV, true},
	"nosuid":        {unix.MS_NOSUID, false},
	"suid":          {unix.MS_NOSUID, true},
	"noexec":        {unix.MS_NOEXEC, false},
	"exec":          {unix.MS_NOEXEC, true},
	"sync":          {unix.MS_SYNCHRONOUS, false},
	"async":         {unix.MS_SYNCHRONOUS, true},
	"dirsync":       {unix.MS_DIRSYNC, false},
	"noatime":       {unix.MS_NOATIME, false},
	"atime":         {unix.MS_NOATIME, true},
	"nodiratime":    {unix.MS_NODIRATIME, false},
	"diratime":      {unix.MS_NODIRATIME, true},
	"relatime":      {unix.MS_RELATIME, false},
	"norelatime":    {unix.MS_RELATIME, true},
	"strictatime":   {unix.MS_STRICTATIME, false},
	"nostrictatime": {unix.MS_STRICTATIME, true},
}

// aufsSettings are the options of aufs(5) that are the user's to choose, each with the setting that it is about: two
// options about one setting are a conflict.
var aufsSettings = map[string]string{
	"acl": "acl", "noacl": "acl",
	"copyup": "cpup", "copyup_policy": "cpup", "cpup": "cpup",
	"create": "create", "create_policy": "create",
	"dio": "dio", "nodio": "dio",
	"diropq":   "diropq",
	"dirperm1": "dirperm1", "nodirperm1": "dirperm1",
	"dirren": "dirren", "nodirren": "dirren",
	"dirwh":   "dirwh",
	"quiet":   "verbose",
	"noquiet": "verbose",
	"q":       "verbose", "silent": "verbose", "v": "verbose", "verbose": "verbose", "noverbose": "verbose",
	"rdblk":  "rdblk",
	"rdhash": "rdhash", "rdcache": "rdcache",
	"shwh": "shwh", "noshwh": "shwh",
	"sum": "sum", "nosum": "sum", "wsum": "sum",
	"trunc_xib": "trunc_xib", "notrunc_xib": "trunc_xib",
	"trunc_xino": "trunc_xino", "notrunc_xino": "trunc_xino", "trunc_xino_path": "trunc_xino",
	"udba":      "udba",
	"warn_perm": "warn_perm", "nowarn_perm": "warn_perm",
}

// driverSettings are options of aufs that the driver sets by itself, or that would take a mount out of its hands.
var driverSettings = map[string]bool{
	"br": true, "add": true, "ins": true, "append": true, "prepend": true, "del": true, "mod": true, "dirs": true,
	"imod": true, "reorder": true, "xino": true, "noxino": true, "zxino": true, "xino_path": true,
	"plink": true, "noplink": true, "list_plink": true, "clean_plink": true,
	"context": true, "fscontext": true, "defcontext": true, "rootcontext": true,
}

// settingOf is what an option of aufs is about, or "" where it is none.
func settingOf(option string) string {
	name, _, _ := strings.Cut(option, "=")
	return aufsSettings[name]
}

// parseMountOptions sorts options, each of which may be a list with commas, into flags of mount(2) and data for aufs.
// An option that is not known, that is the driver's to set, or that contradicts another one is an error that names it.
func parseMountOptions(options []string) (mountOptions, error) {
	var o mountOptions
	said := map[uintptr]string{}
	settings := map[string]string{}
	for _, option := range strings.Split(strings.Join(options, ","), ",") {
		option = strings.TrimSpace(option)
		name, _, _ := strings.Cut(option, "=")
		if f, ok := mountFlags[option]; ok {
			if before, ok := said[f.flag]; ok && before != option {
				return o, fmt.Errorf("mount options %q and %q contradict each other", before, option)
			}
			said[f.flag] = option
			if !f.clear {
				o.flags |= f.flag
			}
			continue
		}
		switch {
		case option == "":
		case driverSettings[name]:
			return o, fmt.Errorf("mount option %q is for the driver to set", option)
		case aufsSettings[name] != "":
			setting := aufsSettings[name]
			if before, ok := settings[setting]; ok {
				if before != option {
					return o, fmt.Errorf("mount options %q and %q contradict each other", before, option)
				}
				continue
			}
			settings[setting] = option
			o.data = append(o.data, option)
		default:
			return o, fmt.Errorf("mount option %q is not known", option)
		}
	}
	return o, nil
}
