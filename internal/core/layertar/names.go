//go:build linux

package layertar

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"strings"
)

// Names are the names of an archive so far, and of the directories that they are in, by hashes: an archive can have many.
type Names struct {
	seed   maphash.Seed
	States map[uint64]nameState // nil if there were too many
	// through: there was, or can be, a name below what is no directory. What later names are those of is not known without a look.
	through bool
	// Empty are the entries that say a size and have no content, as links do in some archives.
	Empty []KeptName
	// entries counts the entries.
	entries uint32
	// Implies: there may be directories that have no entry of their own. Unnamed: nobody knows which those are.
	Implies, Unnamed bool
	// replaced has the directories that a file has replaced, and the number of its entry.
	replaced map[uint64]uint32
}

// A nameState is what the last entry of a name was.
type nameState struct {
	isDir, hasContent bool
	contents          uint32 // how many entries of the name had any
	entry             uint32 // the number of the last one, from 1 on; 0 for a directory that has none
}

// An Shortened is a place in an archive before an entry that may destroy what another one has brought.
type Shortened struct {
	At    int64 // no less of the archive is read for the entry than up to here
	Name  string
	IsDir bool
	// Had is which content the file of that name has, as KeptName counts, and Brings is which one the entry has; 0 if it is none.
	Had, Brings int
	told        bool
}

// NewNames are those of an archive of which nothing was read.
func NewNames() Names {
	return Names{States: map[uint64]nameState{}, replaced: map[uint64]uint32{}, seed: maphash.MakeSeed()}
}

// Forget says that there are too many names.
func (a *Names) Forget() { a.States, a.replaced, a.Empty, a.Unnamed = nil, nil, nil, true }

// remembered is how many names take memory.
func (a *Names) remembered() int { return len(a.States) + len(a.replaced) }

// GaveUp tells if there were too many names.
func (a *Names) GaveUp() bool { return a.States == nil }

func (a *Names) key(name string) uint64 { return maphash.String(a.seed, name) }

// Content tells which content the name was last given, as KeptName counts: 0 if that is none.
func (a *Names) Content(name string) int { return a.States[a.key("/"+name)].content() }

func (s nameState) content() int {
	if !s.hasContent {
		return 0
	}
	return int(s.contents)
}

// enter notes the name of an entry, which begins with a '/'. It is final if it names a file that is there for good, as far as is known now:
// one that is there twice replaces the first one, and what is below a symbolic link is somewhere else. The cut is nil if the entry
// destroys nothing.
func (a *Names) enter(name string, header *tar.Header) (final bool, cut *Shortened) {
	isDir := header.Typeflag == tar.TypeDir
	if name == "/" {
		return isDir, nil
	}
	a.entries++
	final = a.enterDirs(name)
	key := a.key(name)
	before, known := a.States[key]
	now := nameState{isDir: isDir, contents: before.contents, entry: a.entries}
	brings := 0
	if header.Size > 0 {
		now.contents++
		now.hasContent = header.Typeflag == tar.TypeReg
		if now.hasContent {
			brings = int(now.contents)
		} else {
			a.Empty = append(a.Empty, KeptName{Name: name[1:], N: int(now.contents)})
		}
	}
	a.States[key] = now
	if before.isDir && !isDir {
		// Names below it are still known.
		a.through, a.Implies, a.replaced[key] = true, true, a.entries
	}
	final = final && (!known || isDir && before.isDir)
	if final && !a.through {
		return true, nil
	}
	return final, &Shortened{Name: name[1:], IsDir: isDir, Had: before.content(), Brings: brings}
}

// enterDirs notes the directories that a name is in, and reports whether they are directories.
func (a *Names) enterDirs(name string) bool {
	for end := strings.LastIndexByte(name, '/'); end > 0; end = strings.LastIndexByte(name[:end], '/') {
		key := a.key(name[:end])
		parent, known := a.States[key]
		if known && !parent.isDir {
			a.through, a.Unnamed = true, true
			return false
		}
		if known {
			break
		}
		a.States[key], a.Implies = nameState{isDir: true}, true
	}
	return true
}

// Implied tells if the directory with this name has no entry of its own. One that has come in the place of another one needs another
// entry.
func (a *Names) Implied(name string) bool {
	state, known := a.States[a.key(name)]
	if !known || a.Unnamed {
		return false
	}
	if len(a.replaced) > 0 {
		for end := len(name); end > 0; end = strings.LastIndexByte(name[:end], '/') {
			if state.entry < a.replaced[a.key(name[:end])] {
				return true
			}
		}
	}
	return state.entry == 0
}

// A KeptName is the n-th content that an archive has for a name, counted from 1. The name is relative, without "." and "..".
type KeptName struct {
	Name string
	N    int
}

// File is the name of the file that has it. An archive may have content for a name and for others below it, so it is not a path.
func (k KeptName) File() string {
	sum := sha256.Sum256([]byte(k.Name))
	return fmt.Sprintf("%x.%d", sum[:16], k.N)
}
