//go:build linux

package backend

import (
	"fmt"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/shift"
	"golang.org/x/sys/unix"
)

// Name says how layers are mounted.
type Name string

const (
	// Aufs mounts with aufs, or not at all.
	Aufs Name = "aufs"
	// Overlay mounts with overlayfs.
	Overlay Name = "overlay"
	// Auto mounts with aufs if the host can do that, and with overlayfs otherwise.
	Auto Name = "auto"
)

// MountOptions are the options of one mount.
type MountOptions struct {
	// Flags are flags of mount(2), such as MS_RDONLY.
	Flags uintptr
	// Data are options for aufs itself, in the order given. The overlay backend leaves them out: overlayfs has no such options, and they
	// change how aufs works, not what a layer holds.
	Data []string
	// Volatile says that what is written to the mount need not survive a power cut, so that overlayfs syncs none of it. Aufs has no such
	// option, and the aufs backend leaves it out.
	Volatile bool
	// Shift says which layers are to show other owners than they have on the disk, or is nil. Only the overlay backend can do that.
	Shift *shift.Plan
}

// ReadOnly reports whether the mount is read-only.
func (o MountOptions) ReadOnly() bool { return o.Flags&unix.MS_RDONLY != 0 }

// Synchronous reports whether each write to the mount, or each change of a directory, has to be on the disk at once.
func (o MountOptions) Synchronous() bool { return o.Flags&(unix.MS_SYNCHRONOUS|unix.MS_DIRSYNC) != 0 }

// Has reports whether the user has chosen a value, on or off, for the aufs setting name.
func (o MountOptions) Has(name string) bool {
	for _, option := range o.Data {
		if settingOf(option) == name {
			return true
		}
	}
	return false
}

// A mountFlag is an option that is a flag of mount(2): aufs does not take it as data.
type mountFlag struct {
	flag  uintptr
	clear bool
}

// mountFlags are the options of mount(8) that set or clear a flag of one mount. Options for propagation and for bind mounts are left out.
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

// AufsSettings has each option of aufs(5) that the user may choose, with the setting that the option changes. Two different options for one
// setting contradict each other.
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

// DriverSettings are the options of aufs that the driver sets itself, or that would change a mount behind its back.
var DriverSettings = map[string]bool{
	"br": true, "add": true, "ins": true, "append": true, "prepend": true, "del": true, "mod": true, "dirs": true,
	"imod": true, "reorder": true, "xino": true, "noxino": true, "zxino": true, "xino_path": true,
	"plink": true, "noplink": true, "list_plink": true, "clean_plink": true,
	"context": true, "fscontext": true, "defcontext": true, "rootcontext": true,
}

// settingOf returns the setting that an option of aufs changes, or "" if the user cannot choose the option.
func settingOf(option string) string {
	name, _, _ := strings.Cut(option, "=")
	return AufsSettings[name]
}

// volatileOption is the option of overlayfs that MountOptions.Volatile stands for.
const volatileOption = "volatile"

// ParseMountOptions sorts options, each of which may be a list separated by commas, into flags of mount(2), data for aufs, and the option of
// overlayfs. An option is an error if it is unknown, if only the driver may set it, or if it contradicts another option. The error names the
// option.
func ParseMountOptions(options []string) (MountOptions, error) {
	var o MountOptions
	said := map[uintptr]string{}
	settings := map[string]string{}
	for _, option := range strings.Split(strings.Join(options, ","), ",") {
		option = strings.TrimSpace(option)
		name, _, _ := strings.Cut(option, "=")
		if f, ok := mountFlags[option]; ok {
			if before, ok := said[f.flag]; ok && before != option {
				return o, fmt.Errorf("the mount options %q and %q contradict each other", before, option)
			}
			said[f.flag] = option
			if !f.clear {
				o.Flags |= f.flag
			}
			continue
		}
		switch {
		case option == "":
		case option == volatileOption:
			o.Volatile = true
		case DriverSettings[name]:
			return o, fmt.Errorf("only the driver may set the mount option %q", option)
		case AufsSettings[name] != "":
			setting := AufsSettings[name]
			if before, ok := settings[setting]; ok {
				if before != option {
					return o, fmt.Errorf("the mount options %q and %q contradict each other", before, option)
				}
				continue
			}
			settings[setting] = option
			o.Data = append(o.Data, option)
		default:
			return o, fmt.Errorf("the mount option %q is not known", option)
		}
	}
	if o.Volatile && o.Synchronous() {
		// Overlayfs would take both, and sync nothing.
		return o, fmt.Errorf("the mount options %q and %q contradict each other", synchronousOption(said), volatileOption)
	}
	return o, nil
}

// synchronousOption returns the option for which MountOptions are Synchronous. said has the options by their flags.
func synchronousOption(said map[uintptr]string) string {
	if said[unix.MS_SYNCHRONOUS] == "sync" {
		return "sync"
	}
	return said[unix.MS_DIRSYNC]
}
