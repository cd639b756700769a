//go:build linux

package mountutil

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// A line of mountinfo can be too long for the parser in github.com/moby/sys: that of an overlay mount of hundreds of layers, or that of a mount
// whose path is longer than a path that a system call takes. The mount may be another program's, in a user namespace of its own. This driver
// needs neither the end of such a path, nor the lower directories or the work directory, so a LineShortener drops them.

// MountsHere returns the mounts of this mount namespace that filter does not skip.
func MountsHere(filter mountinfo.FilterFunc) ([]*mountinfo.Info, error) {
	return MountsIn("/proc/thread-self/mountinfo", filter)
}

// MountsIn returns the mounts in a mountinfo file that filter does not skip.
func MountsIn(file string, filter mountinfo.FilterFunc) ([]*mountinfo.Info, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountinfo.GetMountsFromReader(NewLineShortener(f), filter)
}

// MaxLine is the length of the longest line that GetMountsFromReader reads.
const MaxLine = bufio.MaxScanTokenSize - 1

// mostPath and mostSource are the length of the longest path and of the longest source of a mount that a LineShortener leaves whole. The kernel
// writes up to four bytes for a byte of a path. So a path that is cut is still longer than unix.PathMax, and cannot be mistaken for another.
const (
	mostPath   = 5 * unix.PathMax
	mostSource = 1024
)

// A LineShortener reads mountinfo. From lines that are longer than MaxLine, it drops the directories that are not needed, and the ends of long
// paths. What stays of an overlay mount is shorter than MaxLine: two paths, the source, and the upper directory, for which the kernel writes no
// more than 4 * unix.PathMax bytes.
type LineShortener struct {
	in *bufio.Reader
	// out is what was read from in and has not been returned yet.
	out []byte
}

// NewLineShortener returns a LineShortener that reads from mountinfo.
func NewLineShortener(mountinfo io.Reader) *LineShortener {
	return &LineShortener{in: bufio.NewReaderSize(mountinfo, MaxLine)}
}

// Read implements io.Reader.
func (l *LineShortener) Read(p []byte) (int, error) {
	if len(l.out) == 0 {
		chunk, err := l.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			chunk, err = l.shortened(chunk)
		}
		if len(chunk) == 0 {
			return 0, err
		}
		// The next call gets the error again.
		l.out = chunk
	}
	n := copy(p, l.out)
	l.out = l.out[n:]
	return n, nil
}

// shortened reads the rest of the line that begins with chunk, and returns the whole line without what it drops.
func (l *LineShortener) shortened(chunk []byte) ([]byte, error) {
	var line keptLine
	for {
		for _, b := range chunk {
			line.add(b)
		}
		if len(chunk) > 0 && chunk[len(chunk)-1] == '\n' {
			return line.kept, nil
		}
		var err error
		if chunk, err = l.in.ReadSlice('\n'); len(chunk) == 0 {
			return line.kept, err
		}
	}
}

// keptLine collects the bytes of a line of mountinfo that are kept. The last field of a line is a list of options, with commas between
// them: see proc(5).
type keptLine struct {
	kept []byte
	// fieldsAfter counts the fields that have ended, beginning with the separator "-".
	fieldsAfter int
	// field is the position in kept where the last field begins, and option where the last option in that field begins.
	field, option int
	// skipping says that the bytes up to the next comma are dropped, and cutting, those up to the next space.
	skipping, cutting bool
}

// add adds the next byte of the line, or drops it.
func (l *keptLine) add(b byte) {
	// Between the separator and the options are the file system's type and its source.
	inOptions := l.fieldsAfter == 3
	switch {
	case inOptions && l.skipping && b == ',':
		l.skipping = false
		return
	case l.skipping && b != '\n':
		return
	case len(l.kept) > MaxLine && b != '\n':
		// The parser refuses this line, and does not need the rest.
		return
	case !inOptions && b != ' ' && b != '\n' && (l.cutting || len(l.kept)-l.field >= l.mostOfField()):
		if !l.cutting {
			l.cutting = true
			l.endEscape()
		}
		return
	case !inOptions && b == ' ':
		if l.fieldsAfter > 0 || string(l.kept[l.field:]) == "-" {
			l.fieldsAfter++
		}
		l.field, l.cutting = len(l.kept)+1, false
	}
	l.kept = append(l.kept, b)
	if b == ',' || b == ' ' {
		l.option = len(l.kept)
	}
	if inOptions && b == '=' && isUnneeded(string(l.kept[l.option:])) {
		l.kept = l.kept[:l.option]
		l.skipping = true
	}
}

// mostOfField returns how long the current field may be.
func (l *keptLine) mostOfField() int {
	if l.fieldsAfter == 0 {
		return mostPath
	}
	return mostSource
}

// endEscape drops the beginning of an escape, such as \04, from the end of what is kept.
func (l *keptLine) endEscape() {
	const escape = len(`\040`)
	end := l.kept[len(l.kept)-escape+1:]
	if i := bytes.IndexByte(end, '\\'); i >= 0 {
		l.kept = l.kept[:len(l.kept)-len(end)+i]
	}
}

// isUnneeded reports whether an option of overlayfs, up to its "=", names directories that this driver does not look for: any but the upper one.
func isUnneeded(option string) bool {
	return option == "lowerdir=" || option == "lowerdir+=" || option == "datadir+=" || option == "workdir="
}

// MountedByTable is IsMounted for kernels that cannot say whether a path is a mount point.
func MountedByTable(target string) (bool, error) {
	resolved, err := filepath.EvalSymlinks(target)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESTALE) {
		return hasLostRoot(target)
	}
	if err != nil {
		return false, err
	}
	return isInTable(resolved)
}

// hasLostRoot reports whether something is mounted at target, which cannot be looked up. If somebody removes the directory of a branch, the
// root of the aufs mount is stale, or does not exist any more, but the mount does.
func hasLostRoot(target string) (bool, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(target))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return isInTable(filepath.Join(dir, filepath.Base(target)))
}

// isInTable reports whether something is mounted at path, which has no symbolic links.
func isInTable(path string) (bool, error) {
	mounts, err := MountsHere(mountinfo.SingleEntryFilter(path))
	if err != nil {
		return false, fmt.Errorf("reading the mounts at %s: %w", path, err)
	}
	return len(mounts) > 0, nil
}
