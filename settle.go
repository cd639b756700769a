//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// The directories of overlay/, all of which are made when they are first needed.
const (
	// markDir holds a file for each layer whose directory is, wholly or in part, in overlay form.
	markDir = "mark"
	// asideDir holds aufs's own files of such layers.
	asideDir = "aside"
	// runDir holds, for each mounted layer, what exists for its mount alone.
	runDir = "run"
	// twinDir holds the overlay twins of layers with whiteouts. It is a cache.
	twinDir = "twin"
	// oldDir holds what was derived from layers and replaced while a mount may have been using them.
	oldDir = "old"
	// emptyDir is the lower directory of the mounts that ask if an upper directory is in use.
	emptyDir = "empty"
)

// overlay is a path in the part of the store that only the overlay backend writes to.
func (h home) overlay(elem ...string) string {
	return filepath.Join(append([]string{string(h), overlayDir}, elem...)...)
}

// What is in run/<id>/mount-*/, beside the work directory.
const (
	// ownTwin begins the names of twins that were made for the mount.
	ownTwin = "twin-"
	// watchUpper is the upper directory of a read-only mount that has such twins.
	watchUpper = "upper"
	// plainLowers lists the ancestors whose own directories are in the mount, an id a line.
	plainLowers = "lowers"
)

// hasOwnTwins tells if twins were made for the one mount that run belongs to.
func hasOwnTwins(run string) bool {
	twins, err := filepath.Glob(filepath.Join(run, ownTwin+"*"))
	return err != nil || len(twins) > 0
}

// newRun makes the directory of what exists for one mount of the layer id alone.
func (h home) newRun(id string) (string, error) {
	all := h.overlay(runDir, id)
	if err := os.MkdirAll(all, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(all, "mount-")
}

// removeRun removes what existed for mounts of the layer id, none of which is left in this mount namespace. What a copy in
// another one is using stays, for the next time.
func (t *translator) removeRun(id string) error {
	all := t.home.overlay(runDir, id)
	runs, err := os.ReadDir(all)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, run := range runs {
		path := filepath.Join(all, run.Name())
		used, err := t.runInUse(path)
		if err == nil && !used {
			err = removeTree(path)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return layerError("cleaning up after", id, err)
	}
	if err := os.Remove(all); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		return layerError("cleaning up after", id, err)
	}
	return nil
}

// runInUse tells if a mount is using what is in run.
func (t *translator) runInUse(run string) (bool, error) {
	if used, err := aufsUses(run); err != nil || used {
		return used, err
	}
	upper := filepath.Join(run, watchUpper)
	if _, err := os.Lstat(upper); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return t.inUse(upper, ownForm())
}

// errInUse: a layer cannot be brought to rest, because something has it mounted.
var errInUse = errors.New("a mount of the layer is alive, in this mount namespace or in another one " +
	"(grep its diff directory in /proc/*/mountinfo)")

// translator knows which form each layer's directory is in, and brings layers from one to the other.
type translator struct {
	home home
	asker
}

// form is the form that the layer id's directory is in. The layer is being translated, or was when a process died, if
// it is not aufsForm: whiteouts of both forms are possible then.
func (t *translator) form(id string) (form, error) {
	content, err := os.ReadFile(t.home.overlay(markDir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return aufsForm, nil
	}
	if err != nil {
		return "", layerError("reading the form of", id, err)
	}
	switch f := form(strings.TrimSpace(string(content))); f {
	case overlayTrusted, overlayUser:
		return f, nil
	case "":
		// A crash came before the mark was whole, and so before the translation began.
		return aufsForm, nil
	default:
		return "", layerError("reading the form of", id, fmt.Errorf("%s says %q", t.home.overlay(markDir, id), f))
	}
}

// open brings the layer id, which is at rest, into overlay form f. The caller holds its lock.
func (t *translator) open(id string, f form) error {
	// Before anything is changed: this is the one thing that cannot be translated back.
	if f, err := t.form(id); err != nil || f == aufsForm {
		if _, err := findMarks(t.home.diff(id)); err != nil {
			return err
		}
	}
	used, err := aufsUses(t.home.diff(id))
	if err == nil && used {
		err = errInUse
	}
	if err != nil {
		return err
	}
	if err := t.mark(id, f); err != nil {
		return err
	}
	return toOverlayForm(t.home.diff(id), f, t.home.overlay(asideDir, id))
}

// mark notes, durably, that the layer id is about to be brought into form f: without the mark, aufs would show the
// layer's whiteouts as files.
func (t *translator) mark(id string, f form) error {
	if err := os.MkdirAll(t.home.overlay(markDir), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(t.home.overlay(markDir, id), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(string(f) + "\n")
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return syncDir(t.home.overlay(markDir))
}

// settle brings the layer id to rest: into aufs form. The caller holds its lock. The error matches errInUse, and nothing
// has changed, if something has the layer mounted.
func (t *translator) settle(id string) error {
	f, err := t.form(id)
	if err != nil || f == aufsForm {
		return err
	}
	if f == overlayTrusted {
		if nested, err := inUserNamespace(); err != nil || nested {
			return layerError("bringing to rest", id, errors.Join(err,
				errors.New("it was mounted outside of this user namespace, whose marks cannot be read in it")))
		}
	}
	used, err := t.inUse(t.home.diff(id), f)
	if err == nil && !used {
		used, err = t.isPlainLower(id)
	}
	if err != nil {
		return layerError("bringing to rest", id, err)
	}
	if used {
		return layerError("bringing to rest", id, errInUse)
	}
	if err := toAufsForm(t.home.diff(id), f, t.home.overlay(asideDir, id)); err != nil {
		return layerError("bringing to rest", id, err)
	}
	if err := os.Remove(t.home.overlay(markDir, id)); err != nil {
		return layerError("bringing to rest", id, err)
	}
	return nil
}

// rest brings the layer id to rest after its mount, and removes what existed for the mount. The caller holds its lock.
func (t *translator) rest(id string) error {
	if err := t.settle(id); err != nil {
		return err
	}
	return t.removeRun(id)
}

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
	err = m.mount()
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
	defer func() { err = errors.Join(err, s.remove()) }()
	m := overlayMount{
		target: filepath.Join(s.dir, "mnt"), lowers: []string{lower},
		upper: upper, work: filepath.Join(s.dir, "work"), userxattr: f == overlayUser, index: true,
	}
	for _, dir := range []string{m.target, m.work} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return false, err
		}
	}
	switch err := m.mount(); {
	case err == nil:
		return false, unmountRetry(m.target)
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

// isPlainLower tells if a mount has the directory of the layer id as a lower one. Overlayfs says nothing about those; the
// mounts of this driver do.
func (t *translator) isPlainLower(id string) (bool, error) {
	lists, err := filepath.Glob(t.home.overlay(runDir, "*", "mount-*", plainLowers))
	if err != nil {
		return false, err
	}
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if strings.Contains("\n"+string(content), "\n"+id+"\n") {
			return true, nil
		}
	}
	return false, nil
}

// aufsUses tells if an aufs mount, in whichever mount namespace, has a branch at path or below it.
func aufsUses(path string) (bool, error) {
	files, err := filepath.Glob("/sys/fs/aufs/si_*/br[0-9]*")
	if err != nil {
		return false, err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if strings.HasPrefix(string(content), path+"=") || strings.HasPrefix(string(content), path+"/") {
			return true, nil
		}
	}
	return false, nil
}

// upperInMountinfo looks for an overlay mount of upper among the mounts of all processes that can be seen.
func upperInMountinfo(upper string) (bool, error) {
	files, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		return false, err
	}
	for _, file := range files {
		used, err := upperInFile(file, upper)
		// Processes come and go, and those of others cannot be read by everyone.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EINVAL) &&
			!errors.Is(err, fs.ErrPermission) {
			return false, err
		}
		if used {
			return true, nil
		}
	}
	return false, nil
}

func upperInFile(file, upper string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	// As mountinfo shows an option's value: with what would end it escaped.
	want := ",upperdir=" + strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`, ",", `\054`, "=", `\075`).Replace(upper) + ","
	mounts, err := mountinfo.GetMountsFromReader(f, func(m *mountinfo.Info) (skip, stop bool) {
		found := m.FSType == "overlay" && strings.Contains(","+m.VFSOptions+",", want)
		return !found, found
	})
	return len(mounts) > 0, err
}
