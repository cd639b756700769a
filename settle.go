//go:build linux

package aufs

import (
	"errors"
	"fmt"

	"github.com/sirupsen/logrus"
)

// errInUse: a layer cannot be brought to rest, because something has it mounted.
var errInUse = errors.New("a mount of the layer is alive, in this mount namespace or in another one " +
	"(grep its diff directory in /proc/*/mountinfo)")

// errMayBeInUse: it could not be found out if something has the layer mounted, so that it counts as in use.
var errMayBeInUse = fmt.Errorf("it cannot be told if %w", errInUse)

// errNoForm: nothing has the layer mounted, and still it cannot be written in aufs form.
var errNoForm = errors.New("it cannot be brought into aufs form")

// leftInForm is the outcome where a layer was not brought to rest.
const leftInForm = "it is left in overlayfs's form"

// logUnrested tells the log why a layer was not brought to rest. A mount that is alive elsewhere is normal: the
// process that watches over a container has a mount namespace of its own, which ends after the container's Put.
func logUnrested(err error) {
	if errors.Is(err, errInUse) && !errors.Is(err, errMayBeInUse) {
		logrus.Debugf("%v; %s", err, leftInForm)
		return
	}
	logrus.Warnf("%v; %s", err, leftInForm)
}

// logStillUnrested is logUnrested for a layer that was to be brought to rest before: that it has no aufs form was told then.
func logStillUnrested(err error) {
	if errors.Is(err, errNoForm) {
		logrus.Debugf("%v; %s", err, leftInForm)
		return
	}
	logUnrested(err)
}

// translator knows which form each layer's directory is in, and brings layers from one to the other.
type translator struct {
	home home
	marks
	asker
	notes notes
}

func newTranslator(h home, runRoot string) *translator {
	return &translator{home: h, marks: marks{home: h}, notes: newNotes(h, runRoot)}
}

// open brings the layer id, which is at rest, into overlay form f, for a mount that is noted with its mark if mounted. The caller
// holds its lock.
func (t *translator) open(id string, f form, mounted bool, lowers string) error {
	now, err := t.read(id)
	if err != nil {
		return err
	}
	used, err := t.aufsUses(id)
	if err == nil && used {
		err = errInUse
	}
	if err != nil {
		return err
	}
	return t.openFrom(id, now, f, mounted, lowers)
}

// openFrom is open for a layer of which it is known that nothing has it mounted, and what mark it has.
func (t *translator) openFrom(id string, now mark, f form, mounted bool, lowers string) error {
	// Before anything is changed: what this finds in a layer in aufs form may be the one thing that cannot be translated back.
	marked, err := findMarks(t.home.diff(id), now.form)
	// One of an earlier boot says that nothing has it mounted.
	if err == nil && (now.form != f || now.old) {
		err = t.set(id, f, mounted, lowers)
	}
	if err != nil {
		return err
	}
	beside := t.home.besideDiff()
	return toOverlayForm(t.home.diff(id), marked, f, beside.overlay(asideDir, id), beside.overlay(sharedWhiteout))
}

// isUntouched tells if the layer id has no mark, of which the caller knows, and nothing is there that exists for a mount of it: no mount can
// be alive that this driver has made. The caller holds its lock.
func (t *translator) isUntouched(id string, marked bool) (bool, error) {
	if marked {
		return false, nil
	}
	runs, err := t.home.runs(id)
	if err != nil || runs != nil {
		return false, err
	}
	return t.notes.none(id)
}

// settle brings the layer id to rest: into aufs form. The caller holds its lock. The error matches errInUse, and nothing
// has changed, if something has the layer mounted.
func (t *translator) settle(id string) error {
	m, err := t.read(id)
	if err != nil {
		return err
	}
	return t.settleMarked(id, m, markedLayers{}, false)
}

// settleMarked is settle for a layer that has the mark m. marked are the layers that have one, if that is known; ended says that no
// overlay mount has the layer as its upper directory, for sure.
func (t *translator) settleMarked(id string, m mark, marked markedLayers, ended bool) error {
	if m.form == aufsForm {
		return nil
	}
	f := m.form
	if f == overlayTrusted {
		if nested, err := inUserNamespace(); err != nil || nested {
			return layerError("bringing to rest", id, errors.Join(err,
				errors.New("it was mounted outside of this user namespace, whose marks cannot be read in it")))
		}
	}
	used, err := false, error(nil)
	if !m.old && !ended {
		used, err = t.inUse(t.home.diff(id), f)
	}
	if err == nil && !m.old && !used {
		used, err = t.isPlainLower(id, marked)
	}
	if err != nil {
		// What cannot be told may be.
		return layerError("bringing to rest", id, fmt.Errorf("%w: %w", errMayBeInUse, err))
	}
	if used {
		return layerError("bringing to rest", id, errInUse)
	}
	if err := toAufsForm(t.home.diff(id), f, t.home.besideDiff().overlay(asideDir, id)); err != nil {
		return layerError("bringing to rest", id, fmt.Errorf("%w: %w", errNoForm, err))
	}
	if err := t.unset(id); err != nil {
		return layerError("bringing to rest", id, err)
	}
	return nil
}

// rest brings the layer id to rest after its mount, and removes what existed for the mount. The caller holds its lock. ended
// says that the file system that was unmounted is gone; without it, that is asked.
func (t *translator) rest(id string, ended bool) error {
	m, err := t.read(id)
	if err != nil {
		return err
	}
	return t.restMarked(id, m, markedLayers{}, ended)
}

// restMarked is rest for a layer that has the mark m. marked are the layers that have one, if that is known.
func (t *translator) restMarked(id string, m mark, marked markedLayers, ended bool) error {
	runs, err := t.home.runs(id)
	if err != nil {
		return layerError("cleaning up after", id, err)
	}
	if ended {
		// It was the only one, if no other one was noted: a note goes after its mount.
		ended = len(runs) == 1 && !m.mounted || len(runs) == 0 && m.mounted
	}
	err = t.settleMarked(id, m, marked, ended)
	if err != nil && !errors.Is(err, errNoForm) {
		// A mount of it may be alive, which uses what would be removed.
		return err
	}
	if err != nil && m.mounted {
		err = errors.Join(err, t.unmounted(id, m.form))
	}
	return errors.Join(err, t.removeRun(id, runs, ended))
}
