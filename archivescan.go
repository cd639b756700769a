//go:build linux

package aufs

import (
	"bytes"
	"io"

	"github.com/containers/storage/pkg/archive"
)

// archiveScan passes an archive on, and notes what may be in it that finishUnpacked has to look for, so that most layers, which have
// neither whiteouts nor extended attributes, are spared a look at each of their files. A tar archive has a name, and the key of an
// attribute, as they are and in one piece, wherever in it they are; a file's content with the same bytes only costs time.
type archiveScan struct {
	io.Reader
	// last is the end of what was read, as long as the beginning of a needle may be.
	last []byte
	foreign
}

// foreign is what an archive may have brought that a layer has in another form, or not at all.
type foreign struct{ whiteouts, xattrs bool }

// What a whiteout, and an extended attribute, begin with in the archive. The library sets no attributes but by such records.
var (
	whiteoutNeedle = []byte(archive.WhiteoutPrefix)
	xattrNeedle    = []byte(archive.PaxSchilyXattr)
)

func (s *archiveScan) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if !s.whiteouts || !s.xattrs {
		s.look(p[:n])
	}
	return n, err
}

// look searches for the needles in what comes next.
func (s *archiveScan) look(next []byte) {
	s.whiteouts = s.whiteouts || s.contain(next, whiteoutNeedle)
	s.xattrs = s.xattrs || s.contain(next, xattrNeedle)
	longest := max(len(whiteoutNeedle), len(xattrNeedle))
	s.last = append(s.last, next[max(0, len(next)-longest+1):]...)
	s.last = s.last[max(0, len(s.last)-longest+1):]
}

// contain tells if a needle ends in what comes next. Across the border there can be all but one byte of it on either side.
func (s *archiveScan) contain(next, needle []byte) bool {
	border := append(s.last[max(0, len(s.last)-len(needle)+1):], next[:min(len(next), len(needle)-1)]...)
	return bytes.Contains(next, needle) || bytes.Contains(border, needle)
}
