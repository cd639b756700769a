//go:build linux

package store

import (
	"crypto/rand"
	"errors"
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

// The form of a layer is recorded as the target of a symbolic link, overlay/form/<id>. The record is made before anybody writes to the layer:
//
//	trusted, user      the layer is in overlay form, with the attributes trusted.overlay.* or user.overlay.*
//	FORM converting    a conversion to FORM or from FORM has begun: the layer may have marks of both forms
//	aufs               the layer has no parents and is in aufs form, and somebody was given its directory to write to
//
// A layer without a record is in aufs form. Such a layer was unpacked from an archive, or mounted with aufs, which left its own files in
// it.

// formConverting ends the record of a layer whose conversion has begun.
const formConverting = " converting"

// A FormRecord is the content of overlay/form/<id>. The zero value means that there is no record.
type FormRecord struct {
	Form       whiteout.Form
	Converting bool
}

// IsOverlay reports whether the layer may have marks of overlay form.
func (r FormRecord) IsOverlay() bool {
	return r.Form == whiteout.OverlayTrusted || r.Form == whiteout.OverlayUser
}

func (r FormRecord) String() string {
	if r.Converting {
		return string(r.Form) + formConverting
	}
	return string(r.Form)
}

// ParseFormRecord parses the target of the link overlay/form/<id>. ok is false if the target names no form.
func ParseFormRecord(target string) (r FormRecord, ok bool) {
	name, converting := strings.CutSuffix(target, formConverting)
	r = FormRecord{Form: whiteout.Form(name), Converting: converting}
	return r, r.IsOverlay() || r.Form == whiteout.AufsForm && !converting
}

// ReadForm reads the record of the layer id.
func (h Home) ReadForm(id string) (FormRecord, error) {
	path := h.Overlay(FormDir, id)
	target, err := ReadLink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return FormRecord{}, nil
	}
	r, ok := FormRecord{}, false
	if err == nil {
		if r, ok = ParseFormRecord(target); !ok {
			err = damaged("the link %s leads to %q, which is no form of a layer", path, target)
		}
	}
	if err != nil {
		return FormRecord{}, LayerError("reading the form of", id, err)
	}
	return r, nil
}

// Form returns the form of the layer id. While the layer is being converted, this is an overlay form, and the layer may have marks of both forms.
func (h Home) Form(id string) (whiteout.Form, error) {
	r, err := h.ReadForm(id)
	if !r.IsOverlay() {
		return whiteout.AufsForm, err
	}
	return r.Form, err
}

// SetForm makes r the record of the layer id, durably. The caller holds the lock of id. After an error, the record is either the old one or r.
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

// LinkForm is SetForm without making the record durable. The returned sync does that.
func (h Home) LinkForm(id string, r FormRecord) (sync func() error, err error) {
	sync, err = h.LinkRecord(FormDir, id, r.String())
	if errors.Is(err, fs.ErrExist) {
		err = h.ReplaceLink(r.String(), h.Overlay(FormDir, id))
	}
	return sync, err
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

// RecordWritten records that somebody is given the directory of the layer id, which has no parents, to write to. From then on nothing is
// cached about the layer. The caller holds the lock of id.
func (h Home) RecordWritten(id string) error {
	r, err := h.ReadForm(id)
	if err == nil {
		// Invalidate even if there is a record. An earlier version made the record before it invalidated, and a crash may have come in
		// between.
		err = h.Invalidate(id)
	}
	if err == nil && r.Form == "" {
		err = LinkIn(string(whiteout.AufsForm), h.Overlay(FormDir), id)
	}
	if errors.Is(err, unix.EROFS) {
		// In a read-only store nobody can write to the layer.
		return nil
	}
	if err != nil {
		return LayerError("recording the form of", id, err)
	}
	return nil
}

// LinkIn makes the symbolic link name to target in the directory dir. If dir is missing, LinkIn makes it.
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

// ReplaceLink makes path a symbolic link to target, and replaces what is there.
func (h Home) ReplaceLink(target, path string) error {
	for {
		made := filepath.Join(h.Tmp(), fsutil.AtomicPrefix+rand.Text())
		if err := os.Symlink(target, made); err != nil {
			return err
		}
		err := os.Rename(made, path)
		if errors.Is(err, fs.ErrNotExist) && !IsThere(made) && IsThere(filepath.Dir(path)) {
			// The sweep took the new link for a leftover of a killed process, and removed it. It does that only once.
			continue
		}
		if err != nil {
			return errors.Join(err, fsutil.IgnoreGone(os.Remove(made)))
		}
		return nil
	}
}

// OwnForm returns the overlay form that this process can mount. Only the initial user namespace can set attributes trusted.*.
func OwnForm() whiteout.Form {
	if nested, err := mountutil.InUserNamespace(); err != nil || nested {
		return whiteout.OverlayUser
	}
	return whiteout.OverlayTrusted
}

// Invalidate drops the cache entries of the layer id, which is about to change or has just changed. If there are any, it also changes a time of
// the layer's root directory, which makes invalid those entries of layers on top that depend on this layer.
func (h Home) Invalidate(id string) error {
	var known []string
	for _, f := range []whiteout.Form{whiteout.AufsForm, whiteout.OverlayTrusted, whiteout.OverlayUser} {
		if path := h.Overlay(KnownDir, string(f), id); IsThere(path) {
			known = append(known, path)
		}
	}
	if len(known) == 0 {
		return nil
	}
	// Renew the time before removing the links. If Invalidate is cut short in between, the links that remain are invalid, and the next
	// Invalidate still finds them.
	if err := RenewTime(h.Diff(id)); err != nil {
		return LayerError("invalidating the cache of", id, err)
	}
	for _, path := range known {
		if err := unix.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return LayerError("invalidating the cache of", id, &fs.PathError{Op: "unlink", Path: path, Err: err})
		}
		// Without this, a crash may bring the link back. Some file systems then keep later changes of the layer, and the link is wrong.
		if err := fsutil.SyncDir(filepath.Dir(path)); err != nil {
			return LayerError("invalidating the cache of", id, err)
		}
	}
	return nil
}

// RenewTime gives the layer directory dir another ctime, and so invalidates every stamp that includes dir.
func RenewTime(dir string) error {
	before, err := fsutil.LstatOf(dir)
	if err != nil {
		return err
	}
	return ChangeTime(dir, func(now unix.Timespec) bool { return now != before.Ctim })
}

// ChangeTime sets the ctime of the directory dir to the current time, again and again until passed accepts it. It gives up after
// longestTick. The clock of a file system moves in steps, and ChangeTime may have to wait for the next one.
func ChangeTime(dir string, passed func(now unix.Timespec) bool) error {
	st, err := fsutil.LstatOf(dir)
	if err != nil {
		return err
	}
	for begin := time.Now(); time.Since(begin) < longestTick; time.Sleep(time.Millisecond) {
		// Setting the mode that dir already has changes only the ctime.
		if err := unix.Chmod(dir, st.Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: dir, Err: err}
		}
		if after, err := fsutil.LstatOf(dir); err != nil || passed(after.Ctim) {
			return err
		}
	}
	return nil
}

// longestTick is longer than the steps in which the clocks of most file systems move. Some count whole seconds.
const longestTick = 1100 * time.Millisecond
