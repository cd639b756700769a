//go:build linux

package layertar

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"strings"
)

// Names are the names in an archive so far, and their parent directories. Names are stored as hashes, because an
// archive can have many.
type Names struct {
	seed   maphash.Seed
	States map[uint64]nameState // nil if there were too many
	// through means that a name is, or may be, below something that is not a directory. From then on, only a look at
	// the directory tells which file a name leads to.
	through bool
	// Empty are the entries that state a size but have no content, as links in some archives do.
	Empty []KeptName
	// entries is the number of entries so far.
	entries uint32
	// Implies means that there may be directories without an entry of their own. Unnamed means that it is not known
	// which ones.
	Implies, Unnamed bool
	// replaced maps each directory that a file has replaced to the number of the file's entry.
	replaced map[uint64]uint32
}

// A nameState describes the last entry of a name.
type nameState struct {
	isDir, hasContent bool
	contents          uint32 // how many entries of the name stated a size; those in Empty count as well
	entry             uint32 // the number of the last entry, from 1 on; 0 for a directory without an entry
}

// A Cut is a place in an archive, before an entry that may destroy what an earlier entry has brought.
type Cut struct {
	At    int64 // the offset in the archive; it is before the last byte of the entry's header
	Name  string
	IsDir bool
	// Had is the number of the content that the file of that name has so far. Brings is the number of the content that
	// the entry brings. Both are counted as in KeptName, and 0 stands for no content.
	Had, Brings int
	told        bool
}

// NewNames returns the Names of an archive that has not been read yet.
func NewNames() Names {
	return Names{States: map[uint64]nameState{}, replaced: map[uint64]uint32{}, seed: maphash.MakeSeed()}
}

// Forget records that there are too many names.
func (a *Names) Forget() { a.States, a.replaced, a.Empty, a.Unnamed = nil, nil, nil, true }

// remembered returns how many names take memory.
func (a *Names) remembered() int { return len(a.States) + len(a.replaced) }

// GaveUp reports whether there were too many names.
func (a *Names) GaveUp() bool { return a.States == nil }

func (a *Names) key(name string) uint64 { return maphash.String(a.seed, name) }

// Content returns the number of the content that the name was last given, counted as in KeptName, or 0 if the name has
// none.
func (a *Names) Content(name string) int { return a.States[a.key("/"+name)].content() }

func (s nameState) content() int {
	if !s.hasContent {
		return 0
	}
	return int(s.contents)
}

// enter records the name of an entry, which begins with a '/'. final reports whether, as far as is known now, the entry
// only adds a file of that name to the layer. It does not if it replaces the file of an earlier entry, or if the name
// leads through something that is not a directory, such as a symbolic link. The cut is nil if the entry destroys
// nothing.
func (a *Names) enter(name string, header *tar.Header) (final bool, cut *Cut) {
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
		// The names below the directory stay in States.
		a.through, a.Implies, a.replaced[key] = true, true, a.entries
	}
	final = final && (!known || isDir && before.isDir)
	if final && !a.through {
		return true, nil
	}
	return final, &Cut{Name: name[1:], IsDir: isDir, Had: before.content(), Brings: brings}
}

// enterDirs records the parent directories of a name, and reports whether all of them are directories.
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

// Implied reports whether the directory with this name has no entry of its own. If a file has replaced the directory,
// or a directory above it, only an entry that comes after the file's entry counts.
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

// A KeptName is the n-th content that an archive has for a name, counted from 1. The name is relative, and has no "."
// or ".." in it.
type KeptName struct {
	Name string
	N    int
}

// File returns the name of the file that has the content. It is not a path, because an archive may have content for a
// name and for names below it.
func (k KeptName) File() string {
	sum := sha256.Sum256([]byte(k.Name))
	return fmt.Sprintf("%x.%d", sum[:16], k.N)
}
