//go:build linux

package aufs

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// How the layers of a stack are split in branches is kept with the uppermost of them, for all at once: a mount of hundreds of
// layers looks at each one's directory, and at no more than that.
//
//	whiteouts/<id>/stack  what it was found out from, and a letter for each layer, id first

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

// stackStamp tells the state of the directories dirs, uppermost first. Whatever is made in, or removed from, one of them changes
// it; and what this driver changes deeper inside, see forgetDerived. That aufs has had one as its writable branch shows as well:
// it leaves files there.
func stackStamp(dirs []string) (string, error) {
	hash := sha256.New()
	for _, dir := range dirs {
		var st unix.Stat_t
		if err := unix.Lstat(dir, &st); err != nil {
			return "", &fs.PathError{Op: "lstat", Path: dir, Err: err}
		}
		fmt.Fprintln(hash, st.Ino, st.Ctim.Sec, st.Ctim.Nsec, st.Mtim.Sec, st.Mtim.Nsec)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

// knownSplits returns how the parents of a stack are split, if that was found out when their stamp was this one.
func (h home) knownSplits(parents []string, stamp string) (splits []split, ok bool) {
	if len(parents) == 0 {
		return nil, true
	}
	content, err := readFile(h.whiteouts().path(parents[0], stackRecord))
	letters, found := strings.CutPrefix(string(content), derivedVersion+stamp+"\n")
	if err != nil || !found || len(letters) != len(parents) {
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
	// Written whole or not, knownSplits sees which.
	_ = os.WriteFile(filepath.Join(h.whiteouts().path(parents[0]), stackRecord), []byte(b.String()), 0o600)
}
