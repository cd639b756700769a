//go:build linux

package aufs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// overlayBackend mounts with overlayfs. Layers are in aufs form at rest; what overlayfs needs is made for the mount: the
// layer's own directory is brought into overlay form and back, and ancestors with whiteouts are stood in for by twins.
type overlayBackend struct {
	home  home
	forms *translator
	// form is the one that this process can mount.
	form form
}

// probeOverlay finds out by a trial mount in scratchDir if layers of the store h can be mounted with overlayfs.
func probeOverlay(h home, forms *translator, scratchDir string) (*overlayBackend, error) {
	nested, err := inUserNamespace()
	if err != nil {
		return nil, fmt.Errorf("aufs: overlay backend: %w", err)
	}
	if !nested && os.Geteuid() != 0 {
		return nil, explainOverlay(h, nested, unix.EPERM)
	}
	b := &overlayBackend{home: h, forms: forms, form: ownForm()}
	if err := b.trial(scratchDir); err != nil {
		return nil, explainOverlay(h, nested, err)
	}
	return b, nil
}

// errWhiteouts: what layers need beyond a mount does not work.
var errWhiteouts = errors.New("overlayfs's whiteouts and opaque directories do not work there")

// trial mounts, in dir, a layer with a whiteout and an opaque directory, and looks if they hide what they should.
func (b *overlayBackend) trial(dir string) error {
	m := overlayMount{
		target: filepath.Join(dir, "mnt"), lowers: []string{filepath.Join(dir, "lower")},
		upper: filepath.Join(dir, "upper"), work: filepath.Join(dir, "work"), userxattr: b.form == overlayUser,
	}
	for _, sub := range []string{"mnt", "lower/deleted", "lower/opaque/hidden", "upper/opaque", "work"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mknod(filepath.Join(m.upper, "deleted"), unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("%w: making one, a character device 0/0: %w", errWhiteouts, err)
	}
	if err := system.Lsetxattr(filepath.Join(m.upper, "opaque"), b.form.xattrPrefix()+"opaque", []byte("y"), 0); err != nil {
		return err
	}
	if err := b.home.mounting(m.mount); err != nil {
		return err
	}
	_, deleted := os.Lstat(filepath.Join(m.target, "deleted"))
	_, hidden := os.Lstat(filepath.Join(m.target, "opaque", "hidden"))
	if err := unmountRetry(m.target); err != nil {
		return err
	}
	if !errors.Is(deleted, os.ErrNotExist) || !errors.Is(hidden, os.ErrNotExist) {
		return errWhiteouts
	}
	return nil
}

// explainOverlay turns the failure of a trial mount into one that says what the host lacks.
func explainOverlay(h home, nested bool, err error) error {
	switch {
	case hasNoRoom(err):
		return fmt.Errorf("aufs: overlay backend: a trial mount failed: %w", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("aufs: overlay backend: the kernel has no overlayfs: %w: %w", graphdriver.ErrNotSupported, err)
	case nested && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL)):
		return fmt.Errorf("aufs: overlay backend: this kernel does not let a user namespace mount overlayfs on %s "+
			"(it takes Linux 5.11, and the namespace a mount namespace of its own): %w: %w", fsName(h.diff("")), graphdriver.ErrPrerequisites, err)
	case !errors.Is(err, errWhiteouts) && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)):
		return fmt.Errorf("aufs: overlay backend: mounting takes root, with CAP_SYS_ADMIN: %w: %w", graphdriver.ErrPrerequisites, err)
	}
	return fmt.Errorf("aufs: overlay backend: overlayfs does not take %s, which is on %s, as its upper directory: %w: %w",
		h.diff(""), fsName(h.diff("")), graphdriver.ErrIncompatibleFS, err)
}

func (b *overlayBackend) name() backendName { return backendOverlay }

func (b *overlayBackend) status() [][2]string {
	return [][2]string{
		{"Dirperm1 Supported", "false"},
		{"Overlay Attributes", string(b.form) + ".overlay"},
	}
}

func (b *overlayBackend) mount(s stack) error {
	before := topState{}
	if before.untouched, before.unrested = b.forms.isUntouched(s.id, s.marked[s.id]); !before.untouched {
		// It may be left over from a crash; or be in use elsewhere, and then it has the form already that a mount needs.
		before.unrested = b.forms.rest(s.id, false)
	}
	m := overlayMount{
		target: s.target, flags: s.options.flags, label: s.label, userxattr: b.form == overlayUser,
	}
	var err error
	if s.options.readOnly() {
		err = b.addReadOnly(&m, s)
	} else {
		err = b.addWritable(&m, s, before)
	}
	if err == nil {
		err = b.home.mounting(m.mount)
	}
	if err != nil {
		if rerr := b.forms.rest(s.id, false); rerr != nil {
			logUnrested(rerr)
		}
	}
	return err
}

// topState is how the layer that is to be mounted was found.
type topState struct {
	// untouched: see isUntouched.
	untouched bool
	// unrested is why it could not be brought to rest, if it could not.
	unrested error
}

// addReadOnly puts all layers of the stack s into m, read-only.
func (b *overlayBackend) addReadOnly(m *overlayMount, s stack) error {
	run, err := b.home.newRun(s.id, s.options)
	if err != nil {
		return err
	}
	if err := b.addTop(m, s.id, run); err != nil {
		return err
	}
	var plain []string
	if m.lowers[0] == b.home.diff(s.id) {
		plain = append(plain, s.id)
	}
	below, err := b.addLowers(m, s, run)
	if err != nil {
		return err
	}
	if err := b.addWatch(m, run); err != nil || run == "" {
		return err
	}
	return noteLowers(run, append(plain, below...))
}

// addWritable puts the layer of the stack s into m, to be written to, on top of its ancestors. If it could not be brought to rest before,
// the mount gets all that it needs for itself.
func (b *overlayBackend) addWritable(m *overlayMount, s stack, before topState) error {
	// Not made yet, and most often not needed.
	run := b.home.besideDiff().overlay(runDir, s.id, "mount-"+rand.Text())
	plain, err := b.addLowers(m, s, run)
	if err != nil {
		return err
	}
	ownTwins := slices.ContainsFunc(m.lowers, func(lower string) bool { return filepath.Dir(lower) == run })
	noted := !ownTwins && before.unrested == nil
	if !noted {
		if err := os.MkdirAll(run, 0o700); err != nil {
			return err
		}
		if err := noteLowers(run, plain); err != nil {
			return err
		}
	}
	m.upper, m.work = b.home.diff(s.id), b.home.besideDiff().overlay(workDir, s.id)
	if before.unrested != nil {
		m.work = filepath.Join(run, "work")
	}
	if err := os.MkdirAll(m.work, 0o700); err != nil {
		return err
	}
	return b.openUpper(s.id, before, noted, lowersOf(s.parents, plain))
}

// lowersOf tells, as a mark does, which of the parents of a stack are among the plain ones, which are in the same order.
func lowersOf(parents, plain []string) string {
	letters := make([]byte, 0, len(parents))
	for _, parent := range parents {
		if len(plain) > 0 && plain[0] == parent {
			letters = append(letters, lowerPlain)
			plain = plain[1:]
		} else {
			letters = append(letters, lowerTwin)
		}
	}
	return string(letters)
}

// openUpper brings the layer id into overlay form. noted says that its mark is to tell of the mount, with lowers.
func (b *overlayBackend) openUpper(id string, before topState, noted bool, lowers string) error {
	if before.untouched {
		return b.forms.openFrom(id, mark{form: aufsForm}, b.form, noted, lowers)
	}
	f, err := b.forms.form(id)
	switch {
	case err != nil:
		return err
	case f == aufsForm:
		return b.forms.open(id, b.form, noted, lowers)
	case f != b.form:
		return fmt.Errorf("it has attributes %s*, where this process can have %s*, and it cannot be brought to rest: %w",
			f.xattrPrefix(), b.form.xattrPrefix(), before.unrested)
	case errors.Is(before.unrested, errInUse):
		// It has its form, and must not be touched.
		return nil
	}
	// The way to rest was cut short by an error; this undoes what came of it.
	logStillUnrested(before.unrested)
	return b.forms.open(id, b.form, noted, lowers)
}

// addTop makes the layer id, of which the caller has the lock, the uppermost of the read-only directories of m.
func (b *overlayBackend) addTop(m *overlayMount, id, run string) error {
	lower, err := b.ownLower(id, ownTwinIn(run, "top"))
	m.lowers = append(m.lowers, lower)
	return err
}

// addLowers adds the ancestors of a layer to m, and returns those whose own directories it added: these must stay as they are for
// as long as the mount lives. What has to be made for this mount is made in run, a directory that need not be there yet, or cannot
// be had if it is "".
func (b *overlayBackend) addLowers(m *overlayMount, s stack, run string) (plain []string, err error) {
	lowers := b.knownLowers(s)
	if lowers == nil {
		if lowers, err = b.findLowers(s, run); err != nil {
			return nil, err
		}
	}
	for n, lower := range lowers {
		if lower == s.parentDirs[n] {
			plain = append(plain, s.parents[n])
		}
	}
	m.lowers = append(m.lowers, lowers...)
	// Overlayfs will not have fewer: two, if none of them is the layer's own, to be written to.
	fewest := 1
	if m.flags&unix.MS_RDONLY != 0 {
		fewest = 2
	}
	if len(m.lowers) < fewest {
		empty := b.home.overlay(emptyDir)
		if run == "" {
			empty = m.target
		} else if err := os.MkdirAll(empty, 0o700); err != nil {
			return nil, err
		}
		m.lowers = append(m.lowers, empty)
	}
	return plain, nil
}

func (b *overlayBackend) records() stackRecords {
	return stackRecords{derived: b.home.twins(), letters: string([]byte{lowerPlain, lowerTwin})}
}

// knownLowers are the directories that stand for the ancestors in the stack s, by the record of it; nil without one that counts.
func (b *overlayBackend) knownLowers(s stack) []string {
	lowers := make([]string, 0, len(s.known))
	for n, letter := range []byte(s.known) {
		switch {
		case s.marked[s.parents[n]]:
			return nil
		case letter == lowerPlain:
			lowers = append(lowers, s.parentDirs[n])
		default:
			// It may have been made anew in another form.
			twin, ok := b.home.twinKnown(s.parents[n], b.form)
			if !ok {
				return nil
			}
			lowers = append(lowers, twin)
		}
	}
	if len(lowers) == 0 {
		return nil
	}
	return lowers
}

// findLowers finds out which directories stand for the ancestors in the stack s, and keeps a record of it if each of them is good
// for other mounts as well.
func (b *overlayBackend) findLowers(s stack, run string) ([]string, error) {
	lowers := make([]string, 0, len(s.parents))
	letters := make([]byte, 0, len(s.parents))
	generation, err := b.home.use(s.parents)
	if err != nil {
		return nil, err
	}
	for n, parent := range s.parents {
		lower, err := b.parentLower(parent, ownTwinIn(run, strconv.Itoa(n)), generation)
		if err != nil {
			return nil, layerError("preparing", parent, err)
		}
		lowers = append(lowers, lower)
		switch {
		case s.marked[parent] || wasWritable(s.parentDirs[n]):
		case lower == s.parentDirs[n]:
			letters = append(letters, lowerPlain)
		case lower == b.home.twins().path(parent, derivedRoot):
			letters = append(letters, lowerTwin)
		}
	}
	if len(letters) > 0 && len(letters) == len(s.parents) {
		b.records().keep(s.parents, s.stamp, generation, string(letters))
	}
	return lowers, nil
}

// noteLowers writes down in run which layers a mount has with their own directories.
func noteLowers(run string, plain []string) error {
	return os.WriteFile(filepath.Join(run, plainLowers), formatParents(plain), 0o600)
}

// addWatch gives a read-only mount an upper directory, for nothing but this: by that it can be found out if the mount, or a
// copy of it in another mount namespace, is alive.
func (b *overlayBackend) addWatch(m *overlayMount, run string) error {
	if m.upper != "" || run == "" {
		return nil
	}
	m.upper, m.work = filepath.Join(run, watchUpper), filepath.Join(run, "work")
	for _, dir := range []string{m.upper, m.work} {
		if err := mkdirWithoutACL(dir, 0o700); err != nil {
			return err
		}
	}
	// It is the root of the mount.
	return copyDirMetadata(m.lowers[0], b.form, m.upper)
}

// parentLower returns the directory that stands for the ancestor id. If one has to be made for this mount, it is made at
// own. generation is what use has returned.
func (b *overlayBackend) parentLower(id, own, generation string) (string, error) {
	f, err := b.forms.form(id)
	if err != nil {
		return "", err
	}
	if f == aufsForm {
		if lower, ok := b.home.twinKnown(id, b.form); ok {
			return lower, nil
		}
	}
	lock, err := b.home.lockID(id)
	if err != nil {
		return "", err
	}
	defer lock.unlock()
	if f, err = b.settledForm(id); err != nil {
		return "", err
	}
	if f != aufsForm || wasWritable(b.home.diff(id)) {
		return b.ownLower(id, own)
	}
	if lower, ok := b.home.twinKnown(id, b.form); ok {
		return lower, nil
	}
	lower, err := b.home.twinFind(id, b.form, generation)
	if own == "" && errors.Is(err, unix.EROFS) {
		return b.ownLower(id, own)
	}
	return lower, err
}

// settledForm is the form of the layer id, of which the caller has the lock, after an attempt to bring to rest what an earlier boot
// left.
func (b *overlayBackend) settledForm(id string) (form, error) {
	m, err := b.forms.read(id)
	if err != nil || !m.old {
		return m.form, err
	}
	if err := b.forms.settle(id); err != nil {
		logStillUnrested(err)
		return m.form, nil
	}
	return aufsForm, nil
}

// ownTwinIn is where a twin that is made for one mount has its place in run, or "" if there is none.
func ownTwinIn(run, name string) string {
	if run == "" {
		return ""
	}
	return filepath.Join(run, ownTwin+name)
}

// ownLower returns a lower directory for the layer id as it is now, whatever becomes of the layer: its own directory if it
// has no whiteouts, or a twin made at own. The caller holds the lock of id.
func (b *overlayBackend) ownLower(id, own string) (string, error) {
	f, err := b.forms.form(id)
	if err != nil {
		return "", err
	}
	if f == aufsForm {
		marks, err := findMarks(b.home.diff(id), f)
		if err != nil || marks == nil {
			return b.home.diff(id), err
		}
	}
	if own == "" {
		// Nothing can change the layer, as long as the store is read-only.
		if twin, ok := b.home.twinKnown(id, b.form); ok && f == aufsForm {
			return twin, nil
		}
		return "", errNoRun
	}
	return own, makeTwin(b.home.diff(id), f, own, b.form)
}
