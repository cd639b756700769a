//go:build linux

package inuse

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// Probe finds out which layers are mounted, in any mount namespace. A mount that is gone from this one may live on in another one.
type Probe struct {
	home  store.Home
	Notes Notes
	// NewScratch makes a scratch directory for a trial mount.
	NewScratch func(purpose string) (*store.Scratch, error)
	mu         sync.Mutex
	// How says how to ask this kernel. findOutHow finds that out with a mount that is certainly alive. How is valid once Asked is true. mu
	// protects both.
	How   Answer
	Asked bool
}

// NewProbe returns a probe of the layers of the store at h. runRoot is where the storage library counts mounts, or "".
func NewProbe(h store.Home, runRoot string) *Probe {
	return &Probe{home: h, Notes: NewNotes(h, runRoot), NewScratch: h.NewScratch}
}

// Answer says how to find out whether an overlay mount uses an upper directory.
type Answer int

const (
	// AnswerNoOverlay says that this kernel has no overlayfs, and so no overlay mounts.
	AnswerNoOverlay Answer = iota
	// AnswerTrial says that a trial mount with index=on fails with EBUSY as long as the first mount that uses the directory is alive.
	AnswerTrial
	// AnswerMountinfo says that such a trial mount does not fail with EBUSY, so that the mounts of all processes have to be searched.
	AnswerMountinfo
)

// Idle returns a *BusyError if the layer id, or a layer on top of it, is mounted. It probes each layer on top separately, because a probe
// of a layer does not find mounts that have the layer as a lower one.
func (u *Probe) Idle(id string) error {
	ids, err := u.home.List()
	if err != nil {
		return err
	}
	for _, other := range ids {
		if other != id {
			parents, err := u.home.WrittenParents(other)
			if errors.Is(err, store.ErrLayerUnknown) || errors.Is(err, store.ErrDamaged) || err == nil && !slices.Contains(parents, id) {
				// The layer is gone, not on top of id, or damaged. Nobody can mount a damaged layer.
				continue
			}
			if err != nil {
				return err
			}
		}
		used, err := u.Of(other)
		if err != nil {
			return fmt.Errorf("finding out whether layer %s is mounted: %w", other, err)
		}
		if err := u.BusyIf(used, other); err != nil {
			return err
		}
	}
	return nil
}

// Of reports whether a mount of the layer id is alive. If Of has to search the mounts of all processes, it misses a mount that no process
// can reach any more.
func (u *Probe) Of(id string) (bool, error) {
	if mounted, err := mountutil.IsMounted(u.home.Mnt(id)); err != nil || mounted {
		return mounted, err
	}
	if used, err := u.AufsUses(id); err != nil || used {
		return used, err
	}
	r, err := u.home.ReadForm(id)
	if err != nil {
		return false, err
	}
	if r.IsOverlay() {
		if used, err := u.UpperInUse(u.home.Diff(id), r.Form); err != nil || used {
			return used, err
		}
	}
	upper := u.home.Watch(id)
	if !store.IsThere(upper) {
		return false, nil
	}
	return u.UpperInUse(upper, store.OwnForm())
}

// BusyIf returns a *BusyError for the layer id if mounted is true, and nil if not.
func (u *Probe) BusyIf(mounted bool, id string) error {
	if !mounted {
		return nil
	}
	target := u.home.Mnt(id)
	if here, err := mountutil.IsMounted(target); err == nil && here {
		e := mountutil.Busy(target)
		e.Holders = append([]mountutil.Holder{{How: "is mounted", Path: target}}, e.Holders...)
		return e
	}
	e := &mountutil.BusyError{Target: target}
	for _, upper := range []string{u.home.Diff(id), u.home.Watch(id)} {
		e.Holders = append(e.Holders, HoldersOf("overlay", "upperdir="+EscapeMountinfo(upper))...)
	}
	for _, si := range u.Notes.alive(id) {
		e.Holders = append(e.Holders, HoldersOf("aufs", "si="+si)...)
	}
	return e
}

// HoldersOf returns processes that have a mount of the type fstype with the option want in their mount namespaces. Most often it returns one for
// each namespace: see eachMountinfo.
func HoldersOf(fstype, want string) []mountutil.Holder {
	var holders []mountutil.Holder
	// The result leaves out processes that this process may not look at.
	_, _ = eachMountinfo(fstype, want, func(process string, m *mountinfo.Info) bool {
		pid, _ := strconv.Atoi(process)                                 // It is a number.
		comm, _ := os.ReadFile(filepath.Join("/proc", process, "comm")) // It may be gone by now.
		holders = append(holders, mountutil.Holder{
			PID: pid, Command: string(bytes.TrimSpace(comm)), How: "has the layer mounted in another mount namespace", Path: m.Mountpoint,
		})
		return false
	})
	return holders
}

// AufsUses reports whether an aufs mount of the layer id is alive.
func (u *Probe) AufsUses(id string) (bool, error) { return u.Notes.used(id) }

// UpperInUse reports whether an overlay mount has upper as its upper directory, in form f.
func (u *Probe) UpperInUse(upper string, f whiteout.Form) (bool, error) {
	// A kernel that is too old for a trial may have such mounts all the same: Red Hat's Linux 4.18 does.
	how, err := AnswerMountinfo, error(nil)
	if f != whiteout.OverlayUser || overlayfs.KernelTakesUserXattr() {
		how, err = u.askHow(f)
	}
	if err != nil {
		return false, fmt.Errorf("finding out how the kernel reports that a directory is in use: %w", err)
	}
	switch how {
	case AnswerNoOverlay:
		return false, nil
	case AnswerTrial:
		if used, err := u.trial(upper, f); err == nil && used {
			return true, nil
		}
		// A trial does not notice every mount. If a mount of a directory was made while another mount of it was alive, the kernel never
		// counts the newer mount as a user of the directory, not even when the older one is gone.
	}
	used := false
	// On old kernels, mountinfo also shows the trial mounts of other processes, which are no users. While this process holds the lock,
	// there are none.
	err = u.home.Mounting(func() (err error) {
		used, err = UpperInMountinfo(upper)
		return err
	})
	return used, err
}

// askHow is findOutHow, but remembers the answer.
func (u *Probe) askHow(f whiteout.Form) (Answer, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.Asked {
		return u.How, nil
	}
	how, err := u.findOutHow(f)
	if err == nil {
		u.How, u.Asked = how, true
	}
	return how, err
}

// findOutHow finds out the Answer for this kernel, with a trial mount of a directory that is certainly in use.
func (u *Probe) findOutHow(f whiteout.Form) (_ Answer, err error) {
	s, err := u.NewScratch("ask")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Remove()) }()
	m := overlayfs.Mount{
		Target: filepath.Join(s.Dir, "mnt"), Lowers: []string{filepath.Join(s.Dir, "lower")},
		Upper: filepath.Join(s.Dir, "upper"), Work: filepath.Join(s.Dir, "work"), UserXattr: f == whiteout.OverlayUser,
	}
	for _, dir := range []string{m.Target, m.Lowers[0], m.Upper, m.Work} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return 0, err
		}
	}
	err = u.home.Mounting(m.Mount)
	if errors.Is(err, unix.ENODEV) {
		return AnswerNoOverlay, nil
	}
	if err != nil {
		return 0, err
	}
	used, err := u.trial(m.Upper, f)
	how := AnswerMountinfo
	if err == nil && used {
		how = AnswerTrial
	}
	return how, mountutil.UnmountRetry(m.Target)
}

// trial makes an overlay mount of upper with index=on. The kernel's answer says whether another mount uses upper.
func (u *Probe) trial(upper string, f whiteout.Form) (used bool, err error) {
	// The lower directory is always the same one. With index=on, overlayfs records the lower directory in the upper one, and later refuses
	// any other lower directory.
	lower := u.home.Overlay(store.EmptyDir)
	if err := os.MkdirAll(lower, 0o700); err != nil {
		return false, err
	}
	s, err := u.NewScratch("ask")
	if err != nil {
		return false, err
	}
	m := overlayfs.Mount{
		Target: filepath.Join(s.Dir, "mnt"), Lowers: []string{lower},
		Upper: upper, Work: filepath.Join(s.Dir, "work"), UserXattr: f == whiteout.OverlayUser, Index: true,
	}
	for _, dir := range []string{m.Target, m.Work} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return false, errors.Join(err, s.Discard())
		}
	}
	// Nobody else may mount meanwhile. Another trial of the same directory would look like a user of it. And the kernel would never count a
	// mount that is made during a trial as a user.
	used, err = TrialAnswer(u.home.MountingAlone(m.Try))
	if mounted, merr := mountutil.IsMounted(m.Target); merr != nil || mounted {
		// The trial mount could not be unmounted.
		return used, errors.Join(err, merr, s.Remove())
	}
	return used, errors.Join(err, s.Discard())
}

// TrialAnswer reports whether the upper directory is in use, given the error of a trial mount with index=on.
func TrialAnswer(err error) (used bool, _ error) {
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, unix.EBUSY):
		return true, nil
	case errors.Is(err, unix.ESTALE):
		// The lower directory differs from the recorded one. The kernel compares the two only after it has seen that the upper directory is
		// free.
		return false, nil
	default:
		return false, err
	}
}

// UpperInMountinfo reports whether a mount namespace that can be seen has an overlay mount of upper.
func UpperInMountinfo(upper string) (bool, error) {
	return InAnyMountinfo("overlay", "upperdir="+EscapeMountinfo(upper))
}

// EscapeMountinfo returns path as mountinfo shows it in an option, with escapes for the characters that would end the option.
func EscapeMountinfo(path string) string {
	return strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`, ",", `\054`, "=", `\075`).Replace(path)
}

// InAnyMountinfo reports whether a mount namespace that can be seen has a mount of the type fstype with the option want. A namespace can be
// seen only if a process is in it.
func InAnyMountinfo(fstype, want string) (bool, error) {
	return eachMountinfo(fstype, want, func(string, *mountinfo.Info) bool { return true })
}

// eachMountinfo looks for a mount of the type fstype with the option want in each mount namespace that can be seen. It calls found with a
// process and one such mount, until found returns true. It looks at processes of a namespace until one of them has the root directory /.
func eachMountinfo(fstype, want string, found func(process string, m *mountinfo.Info) (enough bool)) (enough bool, err error) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return false, err
	}
	seen := map[string]bool{}
	for _, process := range processes {
		if process.Name()[0] < '0' || process.Name()[0] > '9' {
			continue
		}
		namespace, err := os.Readlink(filepath.Join("/proc", process.Name(), "ns/mnt"))
		if err != nil || seen[namespace] {
			// Processes come and go, and not everyone may look at the processes of others.
			continue
		}
		m, err := InMountinfo(filepath.Join("/proc", process.Name(), "mountinfo"), fstype, want)
		if m != nil && found(process.Name(), m) {
			return true, nil
		}
		// The mountinfo of a process with another root directory has only the mounts below that directory.
		root, rerr := os.Readlink(filepath.Join("/proc", process.Name(), "root"))
		seen[namespace] = err == nil && rerr == nil && root == "/"
	}
	return false, nil
}

// InMountinfo returns a mount of the type fstype with the option want from the mountinfo file, or nil if there is none. If the file has a
// line that is too long to read, InMountinfo returns an empty mount with the error, because the mount may be in the rest of the file.
func InMountinfo(file, fstype, want string) (*mountinfo.Info, error) {
	mounts, err := mountutil.MountsIn(file, func(m *mountinfo.Info) (skip, stop bool) {
		found := m.FSType == fstype && hasOption(m.VFSOptions, want)
		return !found, found
	})
	if len(mounts) > 0 {
		return mounts[0], err
	}
	if errors.Is(err, bufio.ErrTooLong) {
		return &mountinfo.Info{}, err
	}
	return nil, err
}

// hasOption reports whether options, as mountinfo shows them, contain the option want, whose value is escaped by EscapeMountinfo. The same
// value can look different in options: kernels differ in what they escape, and overlayfs keeps the escapes that mount(2) was given (see
// overlayfs.EscapeOption).
func hasOption(options, want string) bool {
	for option := range strings.SplitSeq(options, ",") {
		if option == want {
			return true
		}
		name, value, _ := strings.Cut(option, "=")
		value = unescapeMountinfo(value)
		if name+"="+EscapeMountinfo(value) == want || name+"="+EscapeMountinfo(unescapeOption(value)) == want {
			return true
		}
	}
	return false
}

// escapedByte matches a byte that the kernel has escaped.
var escapedByte = regexp.MustCompile(`\\[0-3][0-7]{2}`)

// unescapeMountinfo is the inverse of EscapeMountinfo. It also undoes the other escapes that kernels write.
func unescapeMountinfo(text string) string {
	return escapedByte.ReplaceAllStringFunc(text, func(escaped string) string {
		code, err := strconv.ParseUint(escaped[1:], 8, 8)
		if err != nil {
			return escaped
		}
		return string([]byte{byte(code)})
	})
}

// unescapeOption is the inverse of overlayfs.EscapeOption.
func unescapeOption(text string) string {
	return strings.NewReplacer(`\\`, `\`, `\,`, `,`).Replace(text)
}
