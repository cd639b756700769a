package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
)

// isGuard reports whether there is a guard at path, and not a directory with records.
func isGuard(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}

// setAside moves the library's records aside, and puts guards in their place. Each exchange is one call, so that there is always either. An
// earlier call may have been cut short, even in the revealing of the records.
func (m *move) setAside() error {
	if err := os.Mkdir(m.aside(""), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, kind := range recordKinds {
		if isGuard(m.records(m.from, kind)) || m.isRevealed(kind) {
			continue
		}
		if err := m.guardPlace(m.records(m.to, kind), kind); err != nil {
			return err
		}
		if !isThere(m.records(m.from, kind)) {
			// There is a directory aside for each guard.
			if err := os.Mkdir(m.records(m.from, kind), 0o700); err != nil {
				return err
			}
		}
		if err := os.WriteFile(m.aside(kind), []byte(guard), 0o600); err != nil {
			return err
		}
		if err := fsutil.Exchange(m.aside(kind), m.records(m.from, kind)); err != nil {
			return err
		}
	}
	return errors.Join(fsutil.SyncDir(m.aside("")), fsutil.SyncDir(m.root))
}

// isRevealed reports whether the records of this kind have their new name already.
func (m *move) isRevealed(kind string) bool {
	return !isThere(m.records(m.from, kind)) && isThere(m.records(m.to, kind)) && !isGuard(m.records(m.to, kind))
}

// guardPlace puts a guard at path, where there may be a directory without records.
func (m *move) guardPlace(path, kind string) error {
	if isGuard(path) {
		return nil
	}
	empty, err := isEmptyOf(path, kind)
	if err == nil && !empty {
		err = fmt.Errorf("%s has records", path)
	}
	if err == nil {
		err = os.RemoveAll(path)
	}
	if err == nil {
		err = os.WriteFile(path, []byte(guard), 0o600)
	}
	return err
}

// reveal gives the records the name that they have for the driver, and removes the guards.
func (m *move) reveal(driver string) error {
	for _, kind := range recordKinds {
		if target := m.records(driver, kind); isGuard(target) {
			if err := fsutil.Exchange(m.aside(kind), target); err != nil {
				return err
			}
		}
		if guard := m.records(other[driver], kind); isGuard(guard) {
			if err := os.Remove(guard); err != nil {
				return err
			}
		}
	}
	if err := fsutil.SyncDir(m.root); err != nil {
		return err
	}
	for _, kind := range recordKinds {
		if isGuard(m.aside(kind)) {
			if err := os.Remove(m.aside(kind)); err != nil {
				return err
			}
		}
	}
	return errors.Join(os.Remove(m.aside("")), fsutil.SyncDir(m.root))
}

// now returns the directory that has the records of this kind before they have their new name.
func (m *move) now(kind string) string {
	if isGuard(m.records(m.from, kind)) {
		return m.aside(kind)
	}
	return m.records(m.from, kind)
}

// hasBegun reports whether a move was cut short after all checks.
func (m *move) hasBegun() bool {
	return isThere(m.aside("")) && (isGuard(m.records(m.from, "layers")) || m.isRevealed("layers"))
}

// giveBack gives the records their old names, and removes the home that none of the layers has moved to.
func (m *move) giveBack() error {
	ids, err := layersIn(m.to, m.home(m.to))
	for _, id := range ids {
		dir := filepath.Join(m.home(m.to), id, "diff")
		if m.to == "aufs" {
			dir = filepath.Join(m.home(m.to), "diff", id)
		}
		entries, rerr := os.ReadDir(dir)
		if err = errors.Join(err, rerr); len(entries) > 0 {
			err = errors.Join(err, fmt.Errorf("%s has files", dir))
		}
	}
	if err == nil {
		err = os.RemoveAll(m.home(m.to))
	}
	if err != nil {
		return err
	}
	return m.reveal(m.from)
}
