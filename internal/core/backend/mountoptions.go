//go:build linux

package backend

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Name says how layers are mounted.
type Name string

const (
	// Aufs mounts with aufs, or not at all.
	Aufs Name = "aufs"
	// Overlay mounts with overlayfs.
	Overlay Name = "overlay"
	// Auto takes aufs where it can be had and overlayfs where it cannot.
	Auto Name = "auto"
)

// MountOptions are the options of one mount.
type MountOptions struct {
	// Flags of mount(2); MS_RDONLY among them.
	Flags uintptr
	// Data are options for aufs itself, in the order given. Overlayfs has none of them, and they change how aufs works,
	// not what a layer holds: the overlay backend leaves them out.
	Data []string
}

// ReadOnly tells if nothing can be written through the mount.
func (o MountOptions) ReadOnly() bool { return o.Flags&unix.MS_RDONLY != 0 }

// Has tells if the user said how he wants the aufs option name, in either sense.
func (o MountOptions) Has(name string) bool {
	for _, option := range o.Data {
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

// AufsSettings are the options of aufs(5) that are the user's to choose, each with the setting that it is about: two
// options about one setting are a conflict.
var AufsSettings = map[string]string{
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

// DriverSettings are options of aufs that the driver sets by itself, or that would take a mount out of its hands.
var DriverSettings = map[string]bool{
	"br": true, "add": true, "ins": true, "append": true, "prepend": true, "del": true, "mod": true, "dirs": true,
	"imod": true, "reorder": true, "xino": true, "noxino": true, "zxino": true, "xino_path": true,
	"plink": true, "noplink": true, "list_plink": true, "clean_plink": true,
	"context": true, "fscontext": true, "defcontext": true, "rootcontext": true,
}

// settingOf is what an option of aufs is about, or "" where it is none.
func settingOf(option string) string {
	name, _, _ := strings.Cut(option, "=")
	return AufsSettings[name]
}

// ParseMountOptions sorts options, each of which may be a list with commas, into flags of mount(2) and data for aufs.
// An option that is not known, that is the driver's to set, or that contradicts another one is an error that names it.
func ParseMountOptions(options []string) (MountOptions, error) {
	var o MountOptions
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
				o.Flags |= f.flag
			}
			continue
		}
		switch {
		case option == "":
		case DriverSettings[name]:
			return o, fmt.Errorf("mount option %q is for the driver to set", option)
		case AufsSettings[name] != "":
			setting := AufsSettings[name]
			if before, ok := settings[setting]; ok {
				if before != option {
					return o, fmt.Errorf("mount options %q and %q contradict each other", before, option)
				}
				continue
			}
			settings[setting] = option
			o.Data = append(o.Data, option)
		default:
			return o, fmt.Errorf("mount option %q is not known", option)
		}
	}
	return o, nil
}
