//go:build linux

package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// The form of a layer is recorded, before anybody writes to the layer, as the target of a symbolic link, overlay/form/<id>:
//
//	trusted, user      the layer is in overlay form, with attributes trusted.overlay.* or user.overlay.*
//	FORM converting    a conversion was begun, to this form or from it: the layer may have marks of both forms
//	aufs               the layer has no parents and is in aufs form, and somebody was given its directory to write to
//
// A layer without a record is in aufs form. The driver unpacked it; or aufs mounted it, and left its own files there.

// formConverting ends the record of a layer whose conversion was begun.
const formConverting = " converting"

// A FormRecord is the content of overlay/form/<id>. The zero value stands for no record.
type FormRecord struct {
	Form       whiteout.Form
	Converting bool
}

// IsOverlay tells if the layer may have marks of overlay form.
func (r FormRecord) IsOverlay() bool {
	return r.Form == whiteout.OverlayTrusted || r.Form == whiteout.OverlayUser
}

func (r FormRecord) String() string {
	if r.Converting {
		return string(r.Form) + formConverting
	}
	return string(r.Form)
}

// ParseFormRecord reads the target of the link overlay/form/<id>. ok is false if it is no form.
func ParseFormRecord(target string) (r FormRecord, ok bool) {
	name, converting := strings.CutSuffix(target, formConverting)
	r = FormRecord{Form: whiteout.Form(name), Converting: converting}
	return r, r.IsOverlay() || r.Form == whiteout.AufsForm && !converting
}

// ReadForm reads the record of the layer id.
func (h Home) ReadForm(id string) (FormRecord, error) {
	path := h.Overlay(FormDir, id)
	target, err := os.Readlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return FormRecord{}, nil
	}
	r, ok := FormRecord{}, false
	if err == nil {
		if r, ok = ParseFormRecord(target); !ok {
			err = fmt.Errorf("%s says %q, which is no form", path, target)
		}
	}
	if err != nil {
		return FormRecord{}, LayerError("reading the form of", id, err)
	}
	return r, nil
}

// Form is the form of the layer id. While the layer is being converted, that is an overlay form, and there may be marks of both.
func (h Home) Form(id string) (whiteout.Form, error) {
	r, err := h.ReadForm(id)
	if !r.IsOverlay() {
		return whiteout.AufsForm, err
	}
	return r.Form, err
}

// SetForm makes r the record of the layer id, durably. The caller holds the lock of id. After an error, the record may be the old one or r.
func (h Home) SetForm(id string, r FormRecord) error {
	sync, err := h.LinkForm(id, r)
	if err == nil {
		err = sync()
	}
	if err != nil {
		return LayerError("recording the form of", id, err)
	}
	return nil
}

// LinkForm is SetForm but for what makes the record durable, which sync does.
func (h Home) LinkForm(id string, r FormRecord) (sync func() error, err error) {
	dir := h.Overlay(FormDir)
	first := !IsThere(dir)
	err = LinkIn(r.String(), dir, id)
	if errors.Is(err, fs.ErrExist) {
		err = h.ReplaceLink(r.String(), filepath.Join(dir, id))
	}
	return func() error {
		err := fsutil.SyncDir(dir)
		if err == nil && first {
			err = errors.Join(fsutil.SyncDir(h.Overlay()), fsutil.SyncDir(string(h)))
		}
		return err
	}, err
}

// UnsetForm removes the record of the layer id, durably. The caller holds the lock of id.
func (h Home) UnsetForm(id string) error {
	path := h.Overlay(FormDir, id)
	err := unix.Unlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fsutil.SyncDir(h.Overlay(FormDir))
	}
	if err != nil {
		return LayerError("recording the form of", id, &fs.PathError{Op: "unlink", Path: path, Err: err})
	}
	return nil
}

// MarkWritten records that somebody is given the directory of the layer id, which has no parents, to write to. Nothing that was found out
// about the layer is kept from then on. The caller holds the lock of id.
func (h Home) MarkWritten(id string) error {
	r, err := h.ReadForm(id)
	if err == nil {
		// With a record as well: a crash may have come between the two.
		err = h.Forget(id)
	}
	if err == nil && r.Form == "" {
		err = LinkIn(string(whiteout.AufsForm), h.Overlay(FormDir), id)
	}
	if errors.Is(err, unix.EROFS) {
		// Nobody can write to it.
		return nil
	}
	if err != nil {
		return LayerError("recording the form of", id, err)
	}
	return nil
}

// LinkIn makes the symbolic link name to target in the directory dir, and dir if it is not there.
func LinkIn(target, dir, name string) error {
	path := filepath.Join(dir, name)
	err := os.Symlink(target, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

// ReplaceLink makes path a symbolic link to target, in place of what is there.
func (h Home) ReplaceLink(target, path string) error {
	for {
		made := filepath.Join(h.Tmp(), fsutil.AtomicPrefix+rand.Text())
		if err := os.Symlink(target, made); err != nil {
			return err
		}
		err := os.Rename(made, path)
		if errors.Is(err, fs.ErrNotExist) && !IsThere(made) && IsThere(filepath.Dir(path)) {
			// The sweep has taken it for what is left of somebody who was killed. It sweeps once.
			continue
		}
		if err != nil {
			return errors.Join(err, fsutil.IgnoreGone(os.Remove(made)))
		}
		return nil
	}
}

// OwnForm is the overlay form that this process can mount. The question is the one that the library's archiver asks, to
// know which attributes an upper directory has.
func OwnForm() whiteout.Form {
	if nested, err := mountutil.InUserNamespace(); err != nil || nested {
		return whiteout.OverlayUser
	}
	return whiteout.OverlayTrusted
}

// Forget drops what is known of the layer id, which is about to change, or just has. What is known of the layers on top of it goes by the times
// of its root directory.
func (h Home) Forget(id string) error {
	var known []string
	for _, f := range []whiteout.Form{whiteout.AufsForm, whiteout.OverlayTrusted, whiteout.OverlayUser} {
		if path := h.Overlay(KnownDir, string(f), id); IsThere(path) {
			known = append(known, path)
		}
	}
	if len(known) == 0 {
		return nil
	}
	// Before the links go: cut short in between, they do not count, and are still there for the next one.
	if err := RenewTime(h.Diff(id)); err != nil {
		return LayerError("dropping what is known of", id, err)
	}
	for _, path := range known {
		if err := unix.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return LayerError("dropping what is known of", id, &fs.PathError{Op: "unlink", Path: path, Err: err})
		}
		// A crash brings it back otherwise, and not every file system brings back what was done after it as well.
		if err := fsutil.SyncDir(filepath.Dir(path)); err != nil {
			return LayerError("dropping what is known of", id, err)
		}
	}
	return nil
}

// RenewTime gives the directory of a layer, and by that all stamps with it, another time of the last change.
func RenewTime(dir string) error {
	before, err := fsutil.LstatOf(dir)
	if err != nil {
		return err
	}
	return ChangeTime(dir, func(now unix.Timespec) bool { return now != before.Ctim })
}

// ChangeTime changes the time of the last change of the directory dir until passed takes that for late enough. Where the clock of the file system has
// not gone on, it waits.
func ChangeTime(dir string, passed func(now unix.Timespec) bool) error {
	st, err := fsutil.LstatOf(dir)
	if err != nil {
		return err
	}
	for begin := time.Now(); time.Since(begin) < longestTick; time.Sleep(time.Millisecond) {
		// A change of mode that changes nothing.
		if err := unix.Chmod(dir, st.Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: dir, Err: err}
		}
		if after, err := fsutil.LstatOf(dir); err != nil || passed(after.Ctim) {
			return err
		}
	}
	return nil
}

// longestTick is longer than it takes the clocks of most file systems to go on. Some count whole seconds.
const longestTick = 1100 * time.Millisecond
