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

// Probe finds out which layers are mounted, in any mount namespace: a mount may live on in one when it is gone from this one.
type Probe struct {
	home  store.Home
	Notes Notes
	// NewScratch makes a scratch directory for a trial mount.
	NewScratch func(purpose string) (*store.Scratch, error)
	mu         sync.Mutex
	// How says how the kernel answered to a question whose answer was known, once it was asked; under mu.
	How   Answer
	Asked bool
}

// NewProbe is a probe of the layers of the store at h. runRoot is where the storage library counts mounts, or "".
func NewProbe(h store.Home, runRoot string) *Probe {
	return &Probe{home: h, Notes: NewNotes(h, runRoot), NewScratch: h.NewScratch}
}

// Answer is how a kernel can be asked for the users of an upper directory.
type Answer int

const (
	// AnswerNoOverlay says that there is no overlayfs in this kernel, and so no mount of it.
	AnswerNoOverlay Answer = iota
	// AnswerTrial says that a trial mount with index=on fails with EBUSY for as long as the first mount that uses the directory is alive.
	AnswerTrial
	// AnswerMountinfo says that it does not, and the mounts of all processes have to do.
	AnswerMountinfo
)

// Idle is a *BusyError if the layer id, or one on top of it, is mounted. A mount of aufs or overlayfs does not tell which lower
// layers it has.
func (u *Probe) Idle(id string) error {
	ids, err := u.home.List()
	if err != nil {
		return err
	}
	for _, other := range ids {
		if other != id {
			parents, err := u.home.WrittenParents(other)
			if errors.Is(err, store.ErrLayerUnknown) || errors.Is(err, store.ErrDamaged) || err == nil && !slices.Contains(parents, id) {
				// Nobody can mount one that is damaged.
				continue
			}
			if err != nil {
				return err
			}
		}
		used, err := u.Of(other)
		if err != nil {
			return fmt.Errorf("finding out if layer %s is mounted: %w", other, err)
		}
		if err := u.BusyIf(used, other); err != nil {
			return err
		}
	}
	return nil
}

// Of tells if a mount of the layer id is alive. The kernel names no mount that nobody can reach any more, if it has to be asked for the
// mounts of all processes.
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

// BusyIf is the error of a layer that is mounted, if it is.
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

// HoldersOf are processes in whose mount namespaces there is a mount of the type fstype with the option want: one for each namespace.
func HoldersOf(fstype, want string) []mountutil.Holder {
	var holders []mountutil.Holder
	// Those that cannot be looked at are not named.
	_, _ = eachMountinfo(fstype, want, func(process string, m *mountinfo.Info) bool { //nolint:errcheck // see above
		pid, _ := strconv.Atoi(process)                                 //nolint:errcheck // it is a number
		comm, _ := os.ReadFile(filepath.Join("/proc", process, "comm")) //nolint:errcheck // it may be gone by now
		holders = append(holders, mountutil.Holder{
			PID: pid, Command: string(bytes.TrimSpace(comm)), How: "has it mounted in its mount namespace", Path: m.Mountpoint,
		})
		return false
	})
	return holders
}

// AufsUses tells if an aufs mount of the layer id is alive.
func (u *Probe) AufsUses(id string) (bool, error) { return u.Notes.used(id) }

// UpperInUse tells if an overlay mount has upper as its upper directory, in form f.
func (u *Probe) UpperInUse(upper string, f whiteout.Form) (bool, error) {
	how, err := u.askHow(f)
	if err != nil {
		return false, fmt.Errorf("finding out how to ask for the users of a directory: %w", err)
	}
	switch how {
	case AnswerNoOverlay:
		return false, nil
	case AnswerTrial:
		if used, err := u.trial(upper, f); err == nil && used {
			return true, nil
		}
		// A mount that was made while another one was alive does not count as a user of the directory, not even when that one is gone.
	}
	used := false
	// Trials of others, which old kernels show, are no users.
	err = u.home.Mounting(func() (err error) {
		used, err = UpperInMountinfo(upper)
		return err
	})
	return used, err
}

// askHow is findOutHow, with the answer kept.
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

// findOutHow asks for a directory that is in use for sure.
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

// trial asks the kernel, by an overlay mount of upper with index=on, if another mount uses that directory.
func (u *Probe) trial(upper string, f whiteout.Form) (used bool, err error) {
	// Always the same lower directory: with index=on overlayfs notes in the upper one which lower one it goes with, and
	// refuses others.
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
	// Alone: another trial of the same directory would be taken for a user of it; and a mount that begins during one does not count as such
	// later on.
	used, err = TrialAnswer(u.home.MountingAlone(m.Try))
	if mounted, merr := mountutil.IsMounted(m.Target); merr != nil || mounted {
		// It could not be unmounted.
		return used, errors.Join(err, merr, s.Remove())
	}
	return used, errors.Join(err, s.Discard())
}

// TrialAnswer is what the outcome of a trial mount with index=on says: is the upper directory in use?
func TrialAnswer(err error) (used bool, _ error) {
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, unix.EBUSY):
		return true, nil
	case errors.Is(err, unix.ESTALE):
		// The lower directory is another one than at the last time; the kernel looks at that after it has seen that the
		// upper one is free.
		return false, nil
	default:
		return false, err
	}
}

// UpperInMountinfo looks for an overlay mount of upper.
func UpperInMountinfo(upper string) (bool, error) {
	return InAnyMountinfo("overlay", "upperdir="+EscapeMountinfo(upper))
}

// EscapeMountinfo writes a path as mountinfo shows it in an option: with what would end it escaped.
func EscapeMountinfo(path string) string {
	return strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`, ",", `\054`, "=", `\075`).Replace(path)
}

// InAnyMountinfo tells if any mount namespace that can be seen has a mount of the type fstype with the option want. Only
// those are seen that a process is in.
func InAnyMountinfo(fstype, want string) (bool, error) {
	return eachMountinfo(fstype, want, func(string, *mountinfo.Info) bool { return true })
}

// eachMountinfo calls found with one process of each mount namespace that can be seen, and has a mount of the type fstype with the option want,
// until found returns true.
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
			// Processes come and go, and those of others cannot be looked at by everyone.
			continue
		}
		m, err := InMountinfo(filepath.Join("/proc", process.Name(), "mountinfo"), fstype, want)
		if m != nil && found(process.Name(), m) {
			return true, nil
		}
		seen[namespace] = err == nil
	}
	return false, nil
}

// InMountinfo finds a mount of the type fstype with the option want in the mountinfo file. It is nil if there is none. A file that cannot be
// read to its end may have one.
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

// hasOption tells if options, as mountinfo shows them, have the option want, whose value EscapeMountinfo has written. Kernels differ in what they
// escape; and overlayfs shows a path with the escapes that mount(2) was given it with (see overlayfs.EscapeOption).
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

// escapedByte is a byte that the kernel has escaped.
var escapedByte = regexp.MustCompile(`\\[0-3][0-7]{2}`)

// unescapeMountinfo is the inverse of EscapeMountinfo, and of what kernels do beyond that.
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
