//go:build linux

package aufs

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"strings"
)

// archiveNames are the names of an archive so far, and of the directories that they are in, by hashes: an archive can have many.
type archiveNames struct {
	seed   maphash.Seed
	states map[uint64]nameState // nil if there were too many
	// through: there was, or can be, a name below what is no directory. What later names are those of is not known without a look.
	through bool
	// empty are the entries that say a size and have no content, as links do in some archives.
	empty []keptName
	// entries counts the entries.
	entries uint32
	// implies: there may be directories that have no entry of their own. unnamed: nobody knows which those are.
	implies, unnamed bool
	// replaced has the directories that a file has replaced, and the number of its entry.
	replaced map[uint64]uint32
}

// A nameState is what the last entry of a name was.
type nameState struct {
	isDir, hasContent bool
	contents          uint32 // how many entries of the name had any
	entry             uint32 // the number of the last one, from 1 on; 0 for a directory that has none
}

// An archiveCut is a place in an archive before an entry that may destroy what another one has brought.
type archiveCut struct {
	at    int64 // no less of the archive is read for the entry than up to here
	name  string
	isDir bool
	// had is which content the file of that name has, as keptName counts, and brings is which one the entry has; 0 if it is none.
	had, brings int
	told        bool
}

func newArchiveNames() archiveNames {
	return archiveNames{states: map[uint64]nameState{}, replaced: map[uint64]uint32{}, seed: maphash.MakeSeed()}
}

// forget says that there are too many names.
func (a *archiveNames) forget() { a.states, a.replaced, a.empty, a.unnamed = nil, nil, nil, true }

// remembered is how many names take memory.
func (a *archiveNames) remembered() int { return len(a.states) + len(a.replaced) }

func (a *archiveNames) gaveUp() bool { return a.states == nil }

func (a *archiveNames) key(name string) uint64 { return maphash.String(a.seed, name) }

// content tells which content the name was last given, as keptName counts: 0 if that is none.
func (a *archiveNames) content(name string) int { return a.states[a.key("/"+name)].content() }

func (s nameState) content() int {
	if !s.hasContent {
		return 0
	}
	return int(s.contents)
}

// enter notes the name of an entry, which begins with a '/'. It is final if it names a file that is there for good, as far as is known now:
// one that is there twice replaces the first one, and what is below a symbolic link is somewhere else. The cut is nil if the entry
// destroys nothing.
func (a *archiveNames) enter(name string, header *tar.Header) (final bool, cut *archiveCut) {
	isDir := header.Typeflag == tar.TypeDir
	if name == "/" {
		return isDir, nil
	}
	a.entries++
	final = a.enterDirs(name)
	key := a.key(name)
	before, known := a.states[key]
	now := nameState{isDir: isDir, contents: before.contents, entry: a.entries}
	brings := 0
	if header.Size > 0 {
		now.contents++
		now.hasContent = header.Typeflag == tar.TypeReg
		if now.hasContent {
			brings = int(now.contents)
		} else {
			a.empty = append(a.empty, keptName{name: name[1:], n: int(now.contents)})
		}
	}
	a.states[key] = now
	if before.isDir && !isDir {
		// Names below it are still known.
		a.through, a.implies, a.replaced[key] = true, true, a.entries
	}
	final = final && (!known || isDir && before.isDir)
	if final && !a.through {
		return true, nil
	}
	return final, &archiveCut{name: name[1:], isDir: isDir, had: before.content(), brings: brings}
}

// enterDirs notes the directories that a name is in, and reports whether they are directories.
func (a *archiveNames) enterDirs(name string) bool {
	for end := strings.LastIndexByte(name, '/'); end > 0; end = strings.LastIndexByte(name[:end], '/') {
		key := a.key(name[:end])
		parent, known := a.states[key]
		if known && !parent.isDir {
			a.through, a.unnamed = true, true
			return false
		}
		if known {
			break
		}
		a.states[key], a.implies = nameState{isDir: true}, true
	}
	return true
}

// implied tells if the directory with this name has no entry of its own. One that has come in the place of another one needs another
// entry.
func (a *archiveNames) implied(name string) bool {
	state, known := a.states[a.key(name)]
	if !known || a.unnamed {
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

// A keptName is the n-th content that an archive has for a name, counted from 1. The name is relative, without "." and "..".
type keptName struct {
	name string
	n    int
}

// file is the name of the file that has it. An archive may have content for a name and for others below it, so it is not a path.
func (k keptName) file() string {
	sum := sha256.Sum256([]byte(k.name))
	return fmt.Sprintf("%x.%d", sum[:16], k.n)
}
