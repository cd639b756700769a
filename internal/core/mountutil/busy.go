//go:build linux

package mountutil

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// BusyError says that a layer cannot be unmounted because something uses its mount, that a layer cannot be converted because it, or a layer on
// top of it, is mounted, or that a layer cannot be mounted because an earlier volatile mount of it is alive. Nothing has changed: the operation
// can be called again when the holders are gone. BusyError matches unix.EBUSY.
type BusyError struct {
	// Target is the layer's mount point, whether the layer is mounted there or not.
	Target string
	// Holders are the holders that /proc shows to this process. There may be others.
	Holders []Holder
}

// Holder is something that uses a mount.
type Holder struct {
	// PID is the number of a process, and Command its name in /proc/<PID>/comm. PID is 0 if the holder is a mount in this mount namespace.
	PID     int
	Command string
	// How says how the holder uses the mount, as in "has an open file in the mount".
	How string
	// Path is the file, as the holder sees it, or the mount point.
	Path string
}

func (h Holder) String() string {
	if h.PID == 0 {
		return fmt.Sprintf("%s %s", h.Path, h.How)
	}
	return fmt.Sprintf("process %d (%s) %s: %s", h.PID, h.Command, h.How, h.Path)
}

// mostHolders is how many holders the text of an error names.
const mostHolders = 5

// Error names some of the holders.
func (e *BusyError) Error() string {
	text := make([]string, 0, mostHolders+1)
	for i, h := range e.Holders {
		if i == mostHolders {
			text = append(text, fmt.Sprintf("and %d more", len(e.Holders)-i))
			break
		}
		text = append(text, h.String())
	}
	if len(text) == 0 {
		text = append(text, "nothing in /proc says who uses the mount: perhaps the kernel does, or a process that this process cannot look at")
	}
	return fmt.Sprintf("%v: %s", unix.EBUSY, strings.Join(text, "; "))
}

// Unwrap returns unix.EBUSY.
func (e *BusyError) Unwrap() error { return unix.EBUSY }

// Busy returns the error for a mount at target that stays busy.
func Busy(target string) *BusyError {
	e := &BusyError{Target: target}
	mounts, err := MountsUnder(target)
	if err == nil {
		for _, m := range mounts {
			e.Holders = append(e.Holders, Holder{How: "is mounted inside the mount", Path: m.Mountpoint})
		}
	}
	held, err := placeOf(target)
	if err != nil {
		return e
	}
	around, err := placeOf(filepath.Dir(target))
	held.alone = err == nil && around.device != held.device
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return e
	}
	for _, proc := range processes {
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			continue
		}
		if h, ok := holds(proc, held); ok {
			h.PID = pid
			comm, _ := os.ReadFile(filepath.Join(proc, "comm")) // it may be gone by now
			h.Command = string(bytes.TrimSpace(comm))
			e.Holders = append(e.Holders, h)
		}
	}
	return e
}

// holds reports whether the process with the directory proc in /proc uses the mount, and how.
func holds(proc string, held place) (Holder, bool) {
	links := []struct{ name, how string }{
		{"cwd", "has the working directory in the mount"}, {"root", "has the root directory in the mount"}, {"exe", "runs a program in the mount"},
	}
	fds, _ := os.ReadDir(filepath.Join(proc, "fd")) // it may be gone, or another user's
	for _, fd := range fds {
		links = append(links, struct{ name, how string }{"fd/" + fd.Name(), "has an open file in the mount"})
	}
	for _, link := range links {
		path := filepath.Join(proc, link.name)
		if found, err := placeOf(path); err == nil && found.sameMount(held) {
			target, _ := os.Readlink(path) // it may be gone by now
			return Holder{How: link.how, Path: target}, true
		}
	}
	return mapped(proc, held)
}

// place says in which mount, and on which file system, a file is.
type place struct {
	path string
	// mount is the id of the file's mount, or 0 if the kernel does not report it. device is the device number of the mount's file system.
	mount, device uint64
	// alone says that the directory around the mount is on another file system. Then the mount is taken for the only one of its file system.
	alone bool
}

// sameMount reports whether two files are in the same mount. Kernels before Linux 5.8 do not report the mount of a file. On these,
// sameMount assumes that files on the same file system are in the same mount, because a layer's mount has a file system of its own.
func (p place) sameMount(q place) bool {
	if p.mount != 0 || q.mount != 0 {
		return p.mount == q.mount
	}
	return p.device == q.device
}

// IsBelow reports whether path is dir, or below it.
func IsBelow(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// placeOf returns the place of the file that path leads to. It sends no request to the server of a network file system, which might not
// answer.
func placeOf(path string) (place, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_INO|unix.STATX_MNT_ID, &st)
	if fsutil.IsForbidden(err) {
		var old unix.Stat_t
		err = unix.Stat(path, &old)
		return place{path: path, device: old.Dev}, err
	}
	p := place{path: path, device: unix.Mkdev(st.Dev_major, st.Dev_minor)}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		p.mount = st.Mnt_id
	}
	return p, err
}

// mapped is holds for files that are mapped into memory, which need not be open any more. For such a file, /proc shows only the path and
// the file system. For a file on overlayfs, that file system can be the one that holds the layers.
func mapped(proc string, held place) (Holder, bool) {
	f, err := os.Open(filepath.Join(proc, "maps"))
	if err != nil {
		return Holder{}, false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// Address, permissions, offset, device, inode, path: proc(5).
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 {
			continue
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(fields[3], "%x:%x", &major, &minor); err != nil {
			continue
		}
		if IsBelow(fields[5], held.path) || held.alone && unix.Mkdev(major, minor) == held.device {
			return Holder{How: "has a file of the mount mapped into memory", Path: fields[5]}, true
		}
	}
	return Holder{}, false
}
