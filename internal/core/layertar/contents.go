//go:build linux

package layertar

import (
	"archive/tar"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// Contents are what an archive makes of an empty directory, as far as its headers say it.
type Contents struct {
	// Unclear: it takes more than the headers to know that. What they say of size and marked is not all then.
	Unclear bool
	// Xattrs: there are files that have extended attributes.
	Xattrs bool
	// Loud: there are attributes that not every file system has, of which the library logs that it leaves them out.
	Loud bool
	// kept is how many bytes the library keeps until the end of the archive: the headers of directories.
	kept int64
	// Size is that of all files but whiteouts, as usage counts.
	Size int64
	// marked are the directories that have whiteouts, relative to the root of the layer, and markedBytes is how long their names are.
	marked      map[string]bool
	markedBytes int
	Names       Names
}

func newArchiveContents() Contents {
	return Contents{marked: map[string]bool{}, Names: NewNames()}
}

// MarkedDirs are the directories that have whiteouts, in a fixed order. It is not nil.
func (c *Contents) MarkedDirs() []string {
	return append([]string{}, slices.Sorted(maps.Keys(c.marked))...)
}

// unknown says that there may be anything in the archive.
func (c *Contents) unknown() {
	c.giveUp()
	c.Xattrs = true
}

// giveUp says that there is too much in the archive to remember it. All directories count as ones with an entry then.
func (c *Contents) giveUp() {
	c.Unclear, c.marked = true, nil
	c.Names.Forget()
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

// PaxXattr begins the keys of PAX records that are extended attributes (the name is star's, SCHILY.xattr).
const PaxXattr = "SCHILY.xattr."

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
func (c *Contents) add(header *tar.Header, read int64) *Shortened {
	c.kept += keptOf(header, read)
	for key := range header.PAXRecords {
		// The library sets no attributes but by such records.
		if attribute, ok := strings.CutPrefix(key, PaxXattr); ok {
			c.Xattrs, c.Loud = true, c.Loud || !strings.HasPrefix(attribute, "security.")
		}
	}
	if c.Names.GaveUp() {
		return nil
	}
	// The name in the archive can be long, and that of the file short.
	name := path.Clean("/" + header.Name)
	if len(name) > unix.PathMax {
		// The library cannot make it, and it would take long to look at all that it is in.
		c.Unclear, c.Names.Unnamed = true, true
		return nil
	}
	if !c.Unclear {
		c.count(name, header)
	}
	final, cut := c.Names.enter(name, header)
	c.Unclear = c.Unclear || !final
	if c.Names.remembered() > mostNames || len(c.Names.Empty) > mostEmpty || c.markedBytes > mostMarkedBytes {
		c.giveUp()
	}
	return cut
}

// count adds to the size of the layer, and to the directories with whiteouts.
func (c *Contents) count(name string, header *tar.Header) {
	dir, base := path.Split(name)
	size, known := sizeOf(header)
	switch {
	case header.Typeflag == tar.TypeChar && header.Devmajor == 0 && header.Devminor == 0:
		// Overlayfs would take it for a whiteout.
		c.Unclear = true
	case !known, strings.Contains(dir, whiteout.Prefix), strings.Contains(header.Linkname, whiteout.Prefix):
		// It is in a directory, or it is a name of a file, that the layer cannot have.
		c.Unclear = true
	case !strings.HasPrefix(base, whiteout.Prefix):
		c.Size += size
	case header.Typeflag == tar.TypeDir:
		c.Unclear = true
	default:
		c.mark(path.Join(".", dir))
	}
}

// mark notes a directory that has whiteouts.
func (c *Contents) mark(dir string) {
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
