//go:build linux

package aufs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// errInUse: a layer cannot be brought to rest, because something has it mounted.
var errInUse = errors.New("a mount of the layer is alive, in this mount namespace or in another one " +
	"(grep its diff directory in /proc/*/mountinfo)")

// errNoForm: nothing has the layer mounted, and still it cannot be written in aufs form.
var errNoForm = errors.New("it cannot be brought into aufs form")

// translator knows which form each layer's directory is in, and brings layers from one to the other.
type translator struct {
	home home
	asker
}

// form is the form that the layer id's directory is in. The layer is being translated, or was when a process died, if
// it is not aufsForm: whiteouts of both forms are possible then.
func (t *translator) form(id string) (form, error) {
	content, err := readFile(t.home.overlay(markDir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return aufsForm, nil
	}
	if err != nil {
		return "", layerError("reading the form of", id, err)
	}
	switch f := form(strings.TrimSpace(string(content))); f {
	case overlayTrusted, overlayUser:
		return f, nil
	default:
		return "", layerError("reading the form of", id, fmt.Errorf("%s says %q", t.home.overlay(markDir, id), f))
	}
}

// marked are the ids of all layers that are not in aufsForm. It is for those who look at many.
func (t *translator) marked() (map[string]bool, error) {
	entries, err := os.ReadDir(t.home.overlay(markDir))
	if ignoreGone(err) != nil {
		return nil, fmt.Errorf("aufs: %w", err)
	}
	marked := map[string]bool{}
	for _, entry := range entries {
		marked[entry.Name()] = true
	}
	return marked, nil
}

// open brings the layer id, which is at rest, into overlay form f. The caller holds its lock.
func (t *translator) open(id string, f form) error {
	now, err := t.form(id)
	if err == nil && now == aufsForm {
		// Before anything is changed: this is the one thing that cannot be translated back.
		_, err = findMarks(t.home.diff(id))
	}
	if err != nil {
		return err
	}
	used, err := t.aufsUses(id)
	if err == nil && used {
		err = errInUse
	}
	if err == nil && now != f {
		err = t.mark(id, f)
	}
	if err != nil {
		return err
	}
	return toOverlayForm(t.home.diff(id), f, t.home.overlay(asideDir, id))
}

// mark notes, durably, that the layer id is about to be brought into form f: without the mark, aufs would show the
// layer's whiteouts as files.
func (t *translator) mark(id string, f form) error {
	for _, dir := range []string{t.home.overlay(markDir), t.home.overlay(runDir, id)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return writeFileAtomic(t.home.overlay(runDir, id), t.home.overlay(markDir, id), []byte(f+"\n"))
}

// settle brings the layer id to rest: into aufs form. The caller holds its lock. The error matches errInUse, and nothing
// has changed, if something has the layer mounted.
func (t *translator) settle(id string) error { return t.settleAfter(id, false) }

// settleAfter is settle; ended says that no overlay mount has the layer as its upper directory, for sure.
func (t *translator) settleAfter(id string, ended bool) error {
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
	used := false
	if !ended {
		used, err = t.inUse(t.home.diff(id), f)
	}
	if err == nil && !used {
		used, err = t.isPlainLower(id)
	}
	if err != nil {
		// What cannot be told may be.
		return layerError("bringing to rest", id, errors.Join(err, errInUse))
	}
	if used {
		return layerError("bringing to rest", id, errInUse)
	}
	if err := toAufsForm(t.home.diff(id), f, t.home.overlay(asideDir, id)); err != nil {
		return layerError("bringing to rest", id, fmt.Errorf("%w: %w", errNoForm, err))
	}
	if err := os.Remove(t.home.overlay(markDir, id)); err != nil {
		return layerError("bringing to rest", id, err)
	}
	return nil
}

// rest brings the layer id to rest after its mount, and removes what existed for the mount. The caller holds its lock. ended
// says that the file system that was unmounted is gone; without it, that is asked.
func (t *translator) rest(id string, ended bool) error {
	if ended {
		// It was the only one, if it is the only one that something exists for: what exists for a mount goes after it.
		runs, err := t.home.runs(id)
		if err != nil {
			return layerError("cleaning up after", id, err)
		}
		ended = len(runs) == 1
	}
	err := t.settleAfter(id, ended)
	if err != nil && !errors.Is(err, errNoForm) {
		// A mount of it may be alive, which uses what would be removed.
		return err
	}
	return errors.Join(err, t.removeRun(id, ended))
}
