//go:build linux

package aufs

import (
	"archive/tar"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// archiveContents are what an archive makes of an empty directory, as far as its headers say it.
type archiveContents struct {
	// unclear: it takes more than the headers to know that. What they say of size and marked is not all then.
	unclear bool
	// xattrs: there are files that have extended attributes.
	xattrs bool
	// loud: there are attributes that not every file system has, of which the library logs that it leaves them out.
	loud bool
	// kept is how many bytes the library keeps until the end of the archive: the headers of directories.
	kept int64
	// size is that of all files but whiteouts, as usage counts.
	size int64
	// marked are the directories that have whiteouts, relative to the root of the layer, and markedBytes is how long their names are.
	marked      map[string]bool
	markedBytes int
	names       archiveNames
}

func newArchiveContents() archiveContents {
	return archiveContents{marked: map[string]bool{}, names: newArchiveNames()}
}

// markedDirs are the directories that have whiteouts, in a fixed order. It is not nil.
func (c *archiveContents) markedDirs() []string {
	return append([]string{}, slices.Sorted(maps.Keys(c.marked))...)
}

// unknown says that there may be anything in the archive.
func (c *archiveContents) unknown() {
	c.giveUp()
	c.xattrs = true
}

// giveUp says that there is too much in the archive to remember it. All directories count as ones with an entry then.
func (c *archiveContents) giveUp() {
	c.unclear, c.marked = true, nil
	c.names.forget()
}

// How much is remembered of an archive before that. Each of the two takes some 40 MB.
const (
	mostNames       = 1 << 20
	mostMarkedBytes = 16 << 20
	mostEmpty       = 1 << 12
)

// What a directory takes until the end of the archive: its header, with a place in the library's list of them, and each record, which is
// in two maps if it is an attribute. A record is a part of all that were with it.
const (
	keptHeader  = 320
	keptRecord  = 160
	mostRecords = 1 << 20
)

// paxXattr begins the keys of PAX records that are extended attributes (the name is star's, SCHILY.xattr).
const paxXattr = "SCHILY.xattr."

// keptOf is how much the library keeps of a header for which package tar has read that much.
func keptOf(header *tar.Header, read int64) int64 {
	if header.Typeflag != tar.TypeDir {
		return 0
	}
	kept := int64(keptHeader + len(header.Name) + len(header.Linkname) + len(header.Uname) + len(header.Gname))
	if n := len(header.PAXRecords); n > 0 {
		kept += int64(n*keptRecord) + min(read, mostRecords)
	}
	return kept
}

// add adds what a header says, for which package tar has read that much. The cut is nil unless its entry may destroy what was before it.
func (c *archiveContents) add(header *tar.Header, read int64) *archiveCut {
	c.kept += keptOf(header, read)
	for key := range header.PAXRecords {
		// The library sets no attributes but by such records.
		if attribute, ok := strings.CutPrefix(key, paxXattr); ok {
			c.xattrs, c.loud = true, c.loud || !strings.HasPrefix(attribute, "security.")
		}
	}
	if c.names.gaveUp() {
		return nil
	}
	// The name in the archive can be long, and that of the file short.
	name := path.Clean("/" + header.Name)
	if len(name) > unix.PathMax {
		// The library cannot make it, and it would take long to look at all that it is in.
		c.unclear, c.names.unnamed = true, true
		return nil
	}
	if !c.unclear {
		c.count(name, header)
	}
	final, cut := c.names.enter(name, header)
	c.unclear = c.unclear || !final
	if c.names.remembered() > mostNames || len(c.names.empty) > mostEmpty || c.markedBytes > mostMarkedBytes {
		c.giveUp()
	}
	return cut
}

// count adds to the size of the layer, and to the directories with whiteouts.
func (c *archiveContents) count(name string, header *tar.Header) {
	dir, base := path.Split(name)
	size, known := sizeOf(header)
	switch {
	case header.Typeflag == tar.TypeChar && header.Devmajor == 0 && header.Devminor == 0:
		// Overlayfs would take it for a whiteout.
		c.unclear = true
	case !known, strings.Contains(dir, whiteout.Prefix), strings.Contains(header.Linkname, whiteout.Prefix):
		// It is in a directory, or it is a name of a file, that the layer cannot have.
		c.unclear = true
	case !strings.HasPrefix(base, whiteout.Prefix):
		c.size += size
	case header.Typeflag == tar.TypeDir:
		c.unclear = true
	default:
		c.mark(path.Join(".", dir))
	}
}

// mark notes a directory that has whiteouts.
func (c *archiveContents) mark(dir string) {
	if !c.marked[dir] {
		const entry = 48
		c.marked[dir], c.markedBytes = true, c.markedBytes+len(dir)+entry
	}
}

// sizeOf is the size of the file that the library makes of a header.
func sizeOf(header *tar.Header) (size int64, known bool) {
	switch header.Typeflag {
	case tar.TypeReg:
		return header.Size, true
	case tar.TypeSymlink:
		return int64(len(header.Linkname)), true
	case tar.TypeLink, tar.TypeDir, tar.TypeChar, tar.TypeBlock, tar.TypeFifo, tar.TypeXGlobalHeader:
		return 0, true
	}
	return 0, false
}
