//go:build linux

package moving

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// A conversion changes the times of directories, and puts them back. If it is killed in between, nothing on the disk tells the old times. In the
// layers of images they matter: the storage library compares them with those in the archive. So the times are written to a file first.

// dirTimes are the times of access and of modification of each directory of a layer, by its path in the layer.
type dirTimes map[string][2]unix.Timespec

// keepingTimes converts the layer id by calling convert, and keeps the times of its directories, even over several calls that were cut short.
func (m *Move) keepingTimes(id string, convert func(id string) error) error {
	path := filepath.Join(m.Journal, id)
	times, err := readTimes(path)
	if err == nil && times == nil {
		times, err = m.writeTimes(id, path)
	}
	if err == nil {
		err = convert(id)
	}
	if err != nil {
		return err
	}
	for rel, want := range times {
		if err := restoreTimes(m.Home.Diff(id), rel, want); err != nil {
			return store.LayerError("restoring the times of directories", id, err)
		}
	}
	return os.Remove(path)
}

// hasTimes reports whether a call of keepingTimes for the layer id was cut short.
func (m *Move) hasTimes(id string) bool { return store.IsThere(filepath.Join(m.Journal, id)) }

// restoreTimes sets the times of one directory, unless it still has its time of modification. A conversion removes the directories that aufs has for
// itself.
func restoreTimes(root, rel string, want [2]unix.Timespec) error {
	st, err := fsutil.StatBeneath(root, rel)
	if err != nil || st.Mtim == want[1] {
		return fsutil.IgnoreGone(err)
	}
	return fsutil.SetTimesBeneath(root, rel, want[:])
}

// readTimes reads the file at path. If there is none, the result is nil.
func readTimes(path string) (times dirTimes, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = gob.NewDecoder(bytes.NewReader(content)).Decode(&times)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return times, nil
}

// writeTimes writes the times of all directories of the layer id to the file at path, durably.
func (m *Move) writeTimes(id, path string) (dirTimes, error) {
	root, times := m.Home.Diff(id), dirTimes{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		st, err := fsutil.LstatOf(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		times[rel] = [2]unix.Timespec{st.Atim, st.Mtim}
		return err
	})
	var content bytes.Buffer
	if err == nil {
		err = gob.NewEncoder(&content).Encode(times)
	}
	if err == nil {
		err = os.Mkdir(m.Journal, 0o700)
	}
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = fsutil.WriteFileAtomic(m.Journal, path, content.Bytes())
	}
	if err == nil {
		err = fsutil.SyncDir(filepath.Dir(m.Journal))
	}
	return times, err
}
