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

// Contents is what an archive makes of an empty directory, as far as the headers of the archive say it.
type Contents struct {
	// Unclear means that the headers do not say everything about it. In that case, Size and MarkedDirs are incomplete.
	Unclear bool
	// Xattrs means that some files have extended attributes.
	Xattrs bool
	// Loud means that some files have attributes that not every file system supports. If the library leaves them out,
	// it logs that it does.
	Loud bool
	// kept is how many bytes the library keeps until the end of the archive, for the headers of directories.
	kept int64
	// Size is the size in bytes of all files but whiteouts, counted as a layer's disk usage is.
	Size int64
	// marked are the directories that have whiteouts, relative to the root of the layer. markedBytes is the length of
	// their names, and a constant for each.
	marked      map[string]bool
	markedBytes int
	Names       Names
}

func newArchiveContents() Contents {
	return Contents{marked: map[string]bool{}, Names: NewNames()}
}

// MarkedDirs returns the directories that have whiteouts, sorted. The result is not nil.
func (c *Contents) MarkedDirs() []string {
	return append([]string{}, slices.Sorted(maps.Keys(c.marked))...)
}

// unknown records that there may be anything in the archive.
func (c *Contents) unknown() {
	c.giveUp()
	c.Xattrs = true
}

// giveUp records that there is too much in the archive to remember. From then on, every directory counts as one with an
// entry.
func (c *Contents) giveUp() {
	c.Unclear, c.marked = true, nil
	c.Names.Forget()
}

// These limit what is remembered of an archive: see giveUp. Names and marked directories take some 40 MB each at their
// limits.
const (
	mostNames       = 1 << 20
	mostMarkedBytes = 16 << 20
	mostEmpty       = 1 << 12
)

// The library keeps the headers of directories until the end of the archive. keptHeader is how many bytes a header and
// its place in the library's list take, and keptRecord how many each PAX record takes: a record that is an attribute is
// in two maps. A record is also a substring of the text of all records in its header, and keeps that text in memory.
// Package tar reads a text of at most mostRecords bytes.
const (
	keptHeader  = 320
	keptRecord  = 160
	mostRecords = 1 << 20
)

// PaxXattr begins the keys of PAX records that are extended attributes. The key, SCHILY.xattr, comes from star.
const PaxXattr = "SCHILY.xattr."

// keptOf returns how many bytes the library keeps of a header. read is how many bytes package tar has read for the
// header.
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

// add adds what a header says. read is how many bytes package tar has read for the header. The cut is nil unless the
// header's entry may destroy what was before it.
func (c *Contents) add(header *tar.Header, read int64) *Cut {
	c.kept += keptOf(header, read)
	for key := range header.PAXRecords {
		// The library sets attributes only from such records.
		if attribute, ok := strings.CutPrefix(key, PaxXattr); ok {
			c.Xattrs, c.Loud = true, c.Loud || !strings.HasPrefix(attribute, "security.")
		}
	}
	if c.Names.GaveUp() {
		return nil
	}
	// The name in the archive may be long even if the cleaned name is short.
	name := path.Clean("/" + header.Name)
	if len(name) > unix.PathMax {
		// The library cannot make such a file, and looking at all its parent directories would take long.
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

// count adds an entry to the size of the layer, or its directory to those with whiteouts.
func (c *Contents) count(name string, header *tar.Header) {
	dir, base := path.Split(name)
	size, known := sizeOf(header)
	switch {
	case header.Typeflag == tar.TypeChar && header.Devmajor == 0 && header.Devminor == 0:
		// Overlayfs would take the device for a whiteout.
		c.Unclear = true
	case !known, strings.Contains(dir, whiteout.Prefix), strings.Contains(header.Linkname, whiteout.Prefix):
		// The type is not known, or the layer cannot have the directory that the entry is in, or the file that it is a
		// link to.
		c.Unclear = true
	case !strings.HasPrefix(base, whiteout.Prefix):
		c.Size += size
	case header.Typeflag == tar.TypeDir:
		c.Unclear = true
	default:
		c.mark(path.Join(".", dir))
	}
}

// mark records that a directory has whiteouts.
func (c *Contents) mark(dir string) {
	if !c.marked[dir] {
		const entry = 48
		c.marked[dir], c.markedBytes = true, c.markedBytes+len(dir)+entry
	}
}

// sizeOf returns the size of the file that the library makes of a header.
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
