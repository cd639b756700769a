//go:build linux

package aufs

import (
	"bytes"
	"io"

	"github.com/containers/storage/pkg/archive"
)

// archiveScan passes an archive on, and notes if what it unpacks to may need cleanUnpacked, so that most layers, which have
// neither whiteouts nor extended attributes, are spared a look at each of their files. A tar archive has a name, and the key of an
// attribute, as they are and in one piece, wherever in it they are; a file's content with the same bytes only costs time.
type archiveScan struct {
	io.Reader
	// last is the end of what was read, as long as the beginning of a needle may be.
	last   []byte
	needed bool
}

// What cleanUnpacked looks for begins with one of these in the archive. The library sets no extended attributes but by such
// records.
var needles = [][]byte{[]byte(archive.WhiteoutPrefix), []byte(archive.PaxSchilyXattr)}

func (s *archiveScan) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if !s.needed {
		s.look(p[:n])
	}
	return n, err
}

// look searches for the needles in what comes next.
func (s *archiveScan) look(next []byte) {
	longest := 0
	for _, needle := range needles {
		longest = max(longest, len(needle))
		// Across the border there can be all but one byte of a needle on either side.
		border := append(s.last[max(0, len(s.last)-len(needle)+1):], next[:min(len(next), len(needle)-1)]...)
		if bytes.Contains(next, needle) || bytes.Contains(border, needle) {
			s.needed = true
			return
		}
	}
	s.last = append(s.last, next[max(0, len(next)-longest+1):]...)
	s.last = s.last[max(0, len(s.last)-longest+1):]
}
