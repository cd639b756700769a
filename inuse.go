//go:build linux

package aufs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// asker finds out if an overlay mount is using an upper directory. What it found out about the kernel it keeps.
type asker struct {
	mu sync.Mutex
	// how the kernel answered to a question whose answer was known, once it was asked; under mu.
	how   answer
	asked bool
}

// answer is how a kernel can be asked for the users of an upper directory.
type answer int

const (
	// answerNoOverlay: there is no overlayfs in this kernel, and so no mount of it.
	answerNoOverlay answer = iota
	// answerTrial: a trial mount with index=on fails with EBUSY for as long as the directory is in use.
	answerTrial
	// answerMountinfo: it does not; the mounts of all processes have to be looked at.
	answerMountinfo
)

// inUse tells if an overlay mount, in any mount namespace, has upper as its upper directory.
func (t *translator) inUse(upper string, f form) (bool, error) {
	how, err := t.askHow(f)
	if err != nil {
		return false, fmt.Errorf("finding out how to ask for the users of a directory: %w", err)
	}
	switch how {
	case answerNoOverlay:
		return false, nil
	case answerTrial:
		used, err := t.trial(upper, f)
		if err == nil {
			return used, nil
		}
	}
	return upperInMountinfo(upper)
}

// askHow is findOutHow, with the answer kept.
func (t *translator) askHow(f form) (answer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked {
		return t.how, nil
	}
	how, err := t.findOutHow(f)
	if err == nil {
		t.how, t.asked = how, true
	}
	return how, err
}

// findOutHow asks for a directory that is in use for sure.
func (t *translator) findOutHow(f form) (_ answer, err error) {
	s, err := t.home.newScratch("ask")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	m := overlayMount{
		target: filepath.Join(s.dir, "mnt"), lowers: []string{filepath.Join(s.dir, "lower")},
		upper: filepath.Join(s.dir, "upper"), work: filepath.Join(s.dir, "work"), userxattr: f == overlayUser,
	}
	for _, dir := range []string{m.target, m.lowers[0], m.upper, m.work} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return 0, err
		}
	}
	err = t.home.mounting(m.mount)
	if errors.Is(err, unix.ENODEV) {
		return answerNoOverlay, nil
	}
	if err != nil {
		return 0, err
	}
	used, err := t.trial(m.upper, f)
	how := answerMountinfo
	if err == nil && used {
		how = answerTrial
	}
	return how, unmountRetry(m.target)
}

// trial asks the kernel, by an overlay mount of upper with index=on, if another mount uses that directory.
func (t *translator) trial(upper string, f form) (used bool, err error) {
	// Always the same lower directory: with index=on overlayfs notes in the upper one which lower one it goes with, and
	// refuses others.
	lower := t.home.overlay(emptyDir)
	if err := os.MkdirAll(lower, 0o700); err != nil {
		return false, err
	}
	s, err := t.home.newScratch("ask")
	if err != nil {
		return false, err
	}
	m := overlayMount{
		target: filepath.Join(s.dir, "mnt"), lowers: []string{lower},
		upper: upper, work: filepath.Join(s.dir, "work"), userxattr: f == overlayUser, index: true,
	}
	for _, dir := range []string{m.target, m.work} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return false, errors.Join(err, s.discard())
		}
	}
	used, err = trialAnswer(t.home.mounting(m.tryOut))
	if mounted, merr := isMounted(m.target); merr != nil || mounted {
		// It could not be unmounted.
		return used, errors.Join(err, merr, s.remove())
	}
	return used, errors.Join(err, s.discard())
}

// trialAnswer is what the outcome of a trial mount with index=on says: is the upper directory in use?
func trialAnswer(err error) (used bool, _ error) {
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

// upperInMountinfo looks for an overlay mount of upper.
func upperInMountinfo(upper string) (bool, error) {
	return inAnyMountinfo("overlay", "upperdir="+escapeMountinfo(upper))
}

// escapeMountinfo writes a path as mountinfo shows it in an option: with what would end it escaped.
func escapeMountinfo(path string) string {
	return strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`, ",", `\054`, "=", `\075`).Replace(path)
}

// inAnyMountinfo tells if any mount namespace that can be seen has a mount of the type fstype with the option want. Only
// those are seen that a process is in.
func inAnyMountinfo(fstype, want string) (bool, error) {
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
		found, err := inMountinfo(filepath.Join("/proc", process.Name(), "mountinfo"), fstype, want)
		if found {
			return true, nil
		}
		seen[namespace] = err == nil
	}
	return false, nil
}

// inMountinfo tells if the mountinfo file has a mount of the type fstype with the option want. A file that cannot be read to its end may
// have one.
func inMountinfo(file, fstype, want string) (bool, error) {
	mounts, err := mountsIn(file, func(m *mountinfo.Info) (skip, stop bool) {
		found := m.FSType == fstype && strings.Contains(","+m.VFSOptions+",", ","+want+",")
		return !found, found
	})
	return len(mounts) > 0 || errors.Is(err, bufio.ErrTooLong), err
}
