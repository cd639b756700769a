//go:build linux

package driver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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

// A formRecord is the content of overlay/form/<id>. The zero value stands for no record.
type formRecord struct {
	form       whiteout.Form
	converting bool
}

// isOverlay tells if the layer may have marks of overlay form.
func (r formRecord) isOverlay() bool {
	return r.form == whiteout.OverlayTrusted || r.form == whiteout.OverlayUser
}

func (r formRecord) String() string {
	if r.converting {
		return string(r.form) + formConverting
	}
	return string(r.form)
}

func parseFormRecord(target string) (r formRecord, ok bool) {
	name, converting := strings.CutSuffix(target, formConverting)
	r = formRecord{form: whiteout.Form(name), converting: converting}
	return r, r.isOverlay() || r.form == whiteout.AufsForm && !converting
}

// readForm reads the record of the layer id.
func (h home) readForm(id string) (formRecord, error) {
	path := h.overlay(formDir, id)
	target, err := os.Readlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return formRecord{}, nil
	}
	r, ok := formRecord{}, false
	if err == nil {
		if r, ok = parseFormRecord(target); !ok {
			err = fmt.Errorf("%s says %q, which is no form", path, target)
		}
	}
	if err != nil {
		return formRecord{}, layerError("reading the form of", id, err)
	}
	return r, nil
}

// form is the form of the layer id. While the layer is being converted, that is an overlay form, and there may be marks of both.
func (h home) form(id string) (whiteout.Form, error) {
	r, err := h.readForm(id)
	if !r.isOverlay() {
		return whiteout.AufsForm, err
	}
	return r.form, err
}

// setForm makes r the record of the layer id, durably. The caller holds the lock of id. After an error, the record may be the old one or r.
func (h home) setForm(id string, r formRecord) error {
	sync, err := h.linkForm(id, r)
	if err == nil {
		err = sync()
	}
	if err != nil {
		return layerError("recording the form of", id, err)
	}
	return nil
}

// linkForm is setForm but for what makes the record durable, which sync does.
func (h home) linkForm(id string, r formRecord) (sync func() error, err error) {
	dir := h.overlay(formDir)
	first := !isThere(dir)
	err = linkIn(r.String(), dir, id)
	if errors.Is(err, fs.ErrExist) {
		err = h.replaceLink(r.String(), filepath.Join(dir, id))
	}
	return func() error {
		err := fsutil.SyncDir(dir)
		if err == nil && first {
			err = errors.Join(fsutil.SyncDir(h.overlay()), fsutil.SyncDir(string(h)))
		}
		return err
	}, err
}

// unsetForm removes the record of the layer id, durably. The caller holds the lock of id.
func (h home) unsetForm(id string) error {
	path := h.overlay(formDir, id)
	err := unix.Unlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fsutil.SyncDir(h.overlay(formDir))
	}
	if err != nil {
		return layerError("recording the form of", id, &fs.PathError{Op: "unlink", Path: path, Err: err})
	}
	return nil
}

// markWritten records that somebody is given the directory of the layer id, which has no parents, to write to. Nothing that was found out
// about the layer is kept from then on. The caller holds the lock of id.
func (h home) markWritten(id string) error {
	r, err := h.readForm(id)
	if err == nil {
		// With a record as well: a crash may have come between the two.
		err = h.forget(id)
	}
	if err == nil && r.form == "" {
		err = linkIn(string(whiteout.AufsForm), h.overlay(formDir), id)
	}
	if errors.Is(err, unix.EROFS) {
		// Nobody can write to it.
		return nil
	}
	if err != nil {
		return layerError("recording the form of", id, err)
	}
	return nil
}

// linkIn makes the symbolic link name to target in the directory dir, and dir if it is not there.
func linkIn(target, dir, name string) error {
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

// replaceLink makes path a symbolic link to target, in place of what is there.
func (h home) replaceLink(target, path string) error {
	for {
		made := filepath.Join(h.tmp(), fsutil.AtomicPrefix+rand.Text())
		if err := os.Symlink(target, made); err != nil {
			return err
		}
		err := os.Rename(made, path)
		if errors.Is(err, fs.ErrNotExist) && !isThere(made) && isThere(filepath.Dir(path)) {
			// The sweep has taken it for what is left of somebody who was killed. It sweeps once.
			continue
		}
		if err != nil {
			return errors.Join(err, fsutil.IgnoreGone(os.Remove(made)))
		}
		return nil
	}
}

// ownForm is the overlay form that this process can mount. The question is the one that the library's archiver asks, to
// know which attributes an upper directory has.
func ownForm() whiteout.Form {
	if nested, err := mountutil.InUserNamespace(); err != nil || nested {
		return whiteout.OverlayUser
	}
	return whiteout.OverlayTrusted
}
