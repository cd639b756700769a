package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
)

// The records of one kind go through these states. Each step is one call.
//
//	old name    aside       new name
//	records     -           -
//	records     guard       guard
//	guard       records     guard       isAside
//	guard       guard       records     isRevealed
//	-           -           records
//
// If no layer can move, they go back.

// isGuard reports whether there is a guard at path, and not a directory with records.
func isGuard(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}

// isAside reports whether the records of this kind are aside.
func (m *move) isAside(kind string) bool { return isDir(m.aside(kind)) }

// isRevealed reports whether the records of this kind have their new name, and the move has not ended. If they are back under the old name, a program
// may have made a directory of the new name since.
func (m *move) isRevealed(kind string) bool {
	return isGuard(m.aside(kind)) && isDir(m.records(m.to, kind)) && !isDir(m.records(m.from, kind))
}

// now returns the directory that has the records of this kind at the moment.
func (m *move) now(kind string) string {
	switch {
	case m.isAside(kind):
		return m.aside(kind)
	case m.isRevealed(kind):
		return m.records(m.to, kind)
	}
	return m.records(m.from, kind)
}

// setAside moves the library's records aside, and puts guards in their place. An earlier call may have been cut short.
func (m *move) setAside() error {
	if err := os.Mkdir(m.aside(""), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, kind := range recordKinds {
		if m.isAside(kind) || m.isRevealed(kind) {
			continue
		}
		old := m.records(m.from, kind)
		if !isThere(old) {
			// The store has never had any. The library makes the directory in any case.
			if err := os.Mkdir(old, 0o700); err != nil {
				return err
			}
		}
		if err := makeGuard(m.records(m.to, kind), kind); err != nil {
			return err
		}
		if err := os.WriteFile(m.aside(kind), []byte(guard), 0o600); err != nil {
			return err
		}
		if err := fsutil.Exchange(m.aside(kind), old); err != nil {
			return err
		}
	}
	return errors.Join(fsutil.SyncDir(m.aside("")), fsutil.SyncDir(m.root))
}

// makeGuard puts a guard at path, where there may be a directory without records.
func makeGuard(path, kind string) error {
	if isGuard(path) {
		return nil
	}
	if err := isFree(path, kind); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(guard), 0o600)
}

// isFree returns an error if there is more at path than a guard or a directory without records. Records have directories for their data.
func isFree(path, kind string) error {
	if isGuard(path) || !isThere(path) {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	empty, err := isEmptyOf(path, kind)
	if err == nil && (!empty || slices.ContainsFunc(entries, fs.DirEntry.IsDir)) {
		err = fmt.Errorf("%s has records already, of a store of another driver", path)
	}
	return err
}

// reveal gives all records, which are aside, the names that they have for the driver, and then removes the guards. The library opens images first,
// so while there is a guard for these, no program makes anything in the place of the others.
func (m *move) reveal(driver string) error {
	for _, kind := range recordKinds {
		if target := m.records(driver, kind); m.isAside(kind) && isGuard(target) {
			if err := fsutil.Exchange(m.aside(kind), target); err != nil {
				return err
			}
		}
	}
	if err := fsutil.SyncDir(m.root); err != nil {
		return err
	}
	var guards []string
	for _, kind := range slices.Backward(recordKinds) {
		guards = append(guards, m.records(other[driver], kind))
	}
	// That of layers is the last, since it says what is left to do.
	for _, kind := range recordKinds {
		guards = append(guards, m.aside(kind))
	}
	for _, path := range guards {
		if !isGuard(path) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(m.aside("times")), fsutil.IgnoreGone(os.Remove(m.aside(""))), fsutil.SyncDir(m.root))
}

// giveBack gives the records their old names, because of an error. No layer has moved.
func (m *move) giveBack(because error) error {
	if !isThere(m.aside("")) {
		return because
	}
	return errors.Join(because, m.reveal(m.from))
}
