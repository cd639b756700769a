//go:build linux

package aufs

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// How many of the ancestors in a stack show through, and how the backend mounts each of those, is kept with the uppermost of them,
// for all at once: a mount of hundreds of layers looks at each one's directory, once, and at no more than that.
//
//	whiteouts/<id>/stack     of aufs: what it was found out from, and a letter for each layer that shows through, id first
//	overlay/twin/<id>/stack  the same of overlayfs
//	overlay/generation       a symbolic link to what is in all records that count
//
// The times of directories tell most changes, but on a kernel with coarse ones not those that come at once: a record is made, the
// layer mounted and then changed deep inside. So whoever is to change a layer that may be in a record, of which overlay/used/<id> says
// so, has none count any more.

// stackRecords are those of one backend.
type stackRecords struct {
	derived
	// letters are those that there can be; made is the one, if any, of a layer that has to have a directory in the cache.
	letters string
	made    byte
}

// stackRecord is the name of the file.
const stackRecord = "stack"

// stackStamp tells the state of the directories of layers, uppermost first, which all have to be there. Whatever is made in, or
// removed from, one of them changes it; and what this driver changes deeper inside, see forgetDerived. That aufs has had one as its
// writable branch shows as well: it leaves files there.
func (h home) stackStamp(layers []string) (string, error) {
	// From one open directory: the kernel goes the way to it once.
	diff, err := openTree(h.diff(""))
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: h.diff(""), Err: err}
	}
	defer unix.Close(diff)
	states := make([]byte, 0, 64*len(layers))
	for _, layer := range layers {
		var st unix.Stat_t
		err := unix.Fstatat(diff, layer, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		if err != nil {
			return "", fmt.Errorf("using the ancestor %s: %w", layer, &fs.PathError{Op: "lstat", Path: h.diff(layer), Err: err})
		}
		states = binary.LittleEndian.AppendUint64(states, st.Ino)
		for _, time := range []unix.Timespec{st.Ctim, st.Mtim} {
			states = binary.LittleEndian.AppendUint64(states, uint64(time.Nano())) //nolint:gosec // it is to differ, not to count
		}
	}
	sum := sha256.Sum256(states)
	return hex.EncodeToString(sum[:]), nil
}

// generation is what is in the records that count, or "" if none does.
func (h home) generation() string {
	generation, err := os.Readlink(h.overlay(generationLink))
	if err != nil {
		return ""
	}
	return generation
}

// newGeneration is generation, where one begins if there is none. It may be "" if others end them at the same time.
func (h home) newGeneration() (string, error) {
	if err := linkIn(rand.Text(), h.overlay(), generationLink); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return h.generation(), nil
}

// isCurrent tells if a generation, which use has returned, is the one of now. None, "", never is.
func (h home) isCurrent(generation string) bool {
	return generation != "" && h.generation() == generation
}

// known returns how those of the parents of a stack that show through are mounted, if that was found out when their stamp was this
// one.
func (r stackRecords) known(parents []string, stamp string) (letters string, ok bool) {
	content, err := readFile(r.path(parents[0], stackRecord))
	if err != nil {
		return "", false
	}
	generation := r.home.generation()
	letters, found := strings.CutPrefix(string(content), derivedVersion+stamp+" "+generation+"\n")
	// One that a crash has cut short has no end.
	letters, whole := strings.CutSuffix(letters, "\n")
	if generation == "" || !found || !whole || len(letters) == 0 || len(letters) > len(parents) {
		return "", false
	}
	for i, letter := range []byte(letters) {
		if strings.IndexByte(r.letters, letter) < 0 {
			return "", false
		}
		if letter == r.made {
			if _, err := os.Lstat(r.path(parents[i], derivedRoot)); err != nil {
				return "", false
			}
		}
	}
	return letters, true
}

// keep is for the next known; generation is what use returned. If it cannot be kept it is found out again.
func (r stackRecords) keep(parents []string, stamp, generation, letters string) {
	if generation != "" {
		_ = writeIn(r.path(parents[0]), stackRecord, []byte(derivedVersion+stamp+" "+generation+"\n"+letters+"\n"))
	}
}
