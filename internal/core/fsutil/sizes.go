//go:build linux

package fsutil

import (
	"io/fs"
)

// Sizes adds up the sizes of files. It counts each file once, no matter how many names the file has.
type Sizes struct {
	Sum, Inodes int64
	seen        map[uint64]bool // the inodes of counted files that have several names
}

// Add counts one file.
func (s *Sizes) Add(info fs.FileInfo) {
	if st := StatOf(info); !info.IsDir() && st.Nlink > 1 {
		if s.seen[st.Ino] {
			return
		}
		if s.seen == nil {
			s.seen = map[uint64]bool{}
		}
		s.seen[st.Ino] = true
	}
	s.Inodes++
	// Do not add the size of a directory itself: it depends on the file system more than on the layer.
	if !info.IsDir() {
		s.Sum += info.Size()
	}
}
