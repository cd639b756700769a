//go:build linux

package aufs

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// How many of the ancestors in a stack show through, and how those are split in branches, is kept with the uppermost of them, for
// all at once: a mount of hundreds of layers looks at each one's directory, once, and at no more than that.
//
//	whiteouts/<id>/stack  what it was found out from, and a letter for each layer that shows through, id first

// split is how the aufs backend mounts an ancestor.
type split byte

const (
	// splitNot: as one branch.
	splitNot split = 'n'
	// splitHidesNothing: as one branch, whose opaque directories do not count. There is nothing below for them to hide.
	splitHidesNothing split = 'h'
	// splitInTwo: as a branch whose opaque directories do not count, and a whiteout branch.
	splitInTwo split = 's'
)

// stackRecord is the name of the file.
const stackRecord = "stack"

// stackStamp tells the state of the directories of layers, uppermost first, which all have to be there. Whatever is made in, or
// removed from, one of them changes it; and what this driver changes deeper inside, see forgetDerived. That aufs has had one as its
// writable branch shows as well: it leaves files there.
func (h home) stackStamp(layers []string) (string, error) {
	// From one open directory: the kernel goes the way to it once.
	diff, err := retried(func() (int, error) { return unix.Open(h.diff(""), openDirectory|unix.O_CLOEXEC, 0) })
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

// knownSplits returns how those of the parents of a stack that show through are split, if that was found out when their stamp was
// this one.
func (h home) knownSplits(parents []string, stamp string) (splits []split, ok bool) {
	content, err := readFile(h.whiteouts().path(parents[0], stackRecord))
	letters, found := strings.CutPrefix(string(content), derivedVersion+stamp+"\n")
	// One that a crash has cut short has no end.
	letters, whole := strings.CutSuffix(letters, "\n")
	if err != nil || !found || !whole || len(letters) == 0 || len(letters) > len(parents) {
		return nil, false
	}
	for i, letter := range []byte(letters) {
		s := split(letter)
		if s != splitNot && s != splitHidesNothing && s != splitInTwo {
			return nil, false
		}
		if s == splitInTwo {
			if _, err := os.Lstat(h.whiteouts().path(parents[i], derivedRoot)); err != nil {
				return nil, false
			}
		}
		splits = append(splits, s)
	}
	return splits, true
}

// keepSplits is for the next knownSplits. If it cannot be kept it is found out again.
func (h home) keepSplits(parents []string, stamp string, splits []split) {
	var b strings.Builder
	b.WriteString(derivedVersion + stamp + "\n")
	for _, s := range splits {
		b.WriteByte(byte(s))
	}
	b.WriteByte('\n')
	_ = os.WriteFile(filepath.Join(h.whiteouts().path(parents[0]), stackRecord), []byte(b.String()), 0o600)
}
