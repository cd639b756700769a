//go:build linux

package aufs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// An aufs mount may live on in another mount namespace when it is gone from this one. For each it is written down what aufs
// calls it, its "si", as the target of a symbolic link, which is made and removed in one call each:
//
//	<run root>/aufs/<id>      of the mount of the layer, most often the only one
//	overlay/aufs/<id>         the same, where there is no run root
//	overlay/run/<id>/*/si     of a mount that something was made for, or of one more of the same layer
//
// The run root is where the storage library counts the mounts, on a tmpfs: those who share a store share it. In the store a note
// would make each unmount wait for the disk, for aufs syncs the file system of its writable branch before it goes.
//
// Sysfs would tell the branches of all mounts; but to read it while one of them goes away crashes the kernel (seen on Linux 6.1
// with aufs of 2024-07-01, in sysaufs_si_show). That it has a directory for a mount can be asked.

// notes are the directories that notes may be in, the one to be written to first.
type notes []string

// newNotes are those of a store that has, or does not have, a run root.
func newNotes(h home, runRoot string) notes {
	inStore := h.overlay(aufsDir)
	if runRoot == "" {
		return notes{inStore}
	}
	return notes{filepath.Join(runRoot, filepath.Base(string(h))), inStore}
}

// add makes the note of the layer id, in place of one whose mount is gone: the process died that has unmounted it. The error matches
// fs.ErrExist if that mount is alive.
func (n notes) add(id, si string) error {
	err := n.link(id, si)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := n.drop(id); err != nil {
		return err
	}
	return n.link(id, si)
}

// link makes the note in the first directory that takes it. The error matches fs.ErrExist if there is one.
func (n notes) link(id, si string) error {
	var err error
	for _, dir := range n {
		if err = linkIn(si, dir, id); err == nil || errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return err
}

// used tells if one of the notes of the layer id is that of a mount that is alive in any mount namespace.
func (n notes) used(id string) (bool, error) {
	for _, dir := range n {
		if alive, err := aufsAlive(filepath.Join(dir, id)); err != nil || alive {
			return alive, err
		}
	}
	return false, nil
}

// none tells if the layer id has no notes.
func (n notes) none(id string) (bool, error) {
	for _, dir := range n {
		if _, err := os.Readlink(filepath.Join(dir, id)); !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return true, nil
}

// drop removes the notes of the layer id whose mounts are gone from all mount namespaces.
func (n notes) drop(id string) error {
	for _, dir := range n {
		note := filepath.Join(dir, id)
		noted, alive, err := readNote(note)
		if err == nil && noted && !alive {
			err = os.Remove(note)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// aufsSysfs is where the kernel describes aufs mounts.
const aufsSysfs = "/sys/fs/aufs"

// noteMount writes down what aufs calls its mount of the stack s; in run, unless that is "".
func (b *aufsBackend) noteMount(s stack, run string) error {
	si, err := mountID(s.target)
	if err != nil {
		return err
	}
	if run == "" {
		err := b.forms.notes.add(s.id, si)
		if errors.Is(err, unix.EROFS) && s.options.readOnly() {
			// No layer can change there, so that nobody has to know of the mount.
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Another one is alive elsewhere.
		if run, err = b.home.newRun(s.id, s.options); err != nil || run == "" {
			return err
		}
	}
	return os.Symlink(si, filepath.Join(run, aufsMountID))
}

// aufsUses tells if an aufs mount of the layer id is alive in any mount namespace.
func (t *translator) aufsUses(id string) (bool, error) {
	if used, err := t.notes.used(id); err != nil || used {
		return used, err
	}
	runs, err := t.home.runs(id)
	if err != nil {
		return false, err
	}
	for _, run := range runs {
		if alive, err := aufsAlive(filepath.Join(run, aufsMountID)); err != nil || alive {
			return alive, err
		}
	}
	return false, nil
}

// aufsAlive tells if there is the link note, and the aufs mount that it names is alive in any mount namespace.
func aufsAlive(note string) (bool, error) {
	_, alive, err := readNote(note)
	return alive, err
}

// readNote is aufsAlive, and tells in addition if the link is there.
func readNote(note string) (noted, alive bool, err error) {
	si, err := os.Readlink(note)
	if err != nil {
		return false, false, ignoreGone(err)
	}
	// What is in the directory is not read: see above.
	_, err = os.Lstat(aufsSysfs + "/si_" + si)
	if err == nil {
		return true, true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return true, false, err
	}
	if _, err := os.Lstat(aufsSysfs); err == nil {
		return true, false, nil
	}
	alive, err = inAnyMountinfo("aufs", "si="+si)
	return true, alive, err
}
